"""The level of a recording is chosen by what was measured, and by nothing else: costs are given here, none is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.errors import DiagnoseError
from diagnose.record.chooser import FREE_SECONDS, SHORT_SECONDS, Bounds, Costs, choose, expected
from diagnose.record.costs import Meter
from diagnose.record.own_code import why_not_again
from diagnose.tracefile.events import LevelChanged
from diagnose.tracefile.levels import levels

ALL = Bounds(0, 3, 0.02)
LONG = 1000 * SHORT_SECONDS


def costs(level: int, own: dict[int, float], *, step: float = 0.01, spent: float = 1.0, passed: float = LONG) -> Costs:
    return Costs(level, own, step, spent, passed, None)


def test_what_costs_no_more_than_allowed_is_kept() -> None:
    assert choose(costs(3, {3: 0.0002}), ALL, inside=True) == 3
    assert choose(costs(3, {3: 0.00021}), ALL, inside=True) < 3


def test_of_the_levels_below_the_fullest_that_is_within_the_budget_is_taken() -> None:
    """2 % of 10 ms are 0.2 ms. Those not measured yet are taken to cost their share of the one above."""
    assert choose(costs(3, {3: 0.0003}), ALL, inside=False) == 2
    assert choose(costs(3, {3: 0.0005}), ALL, inside=False) == 1
    assert choose(costs(3, {3: 0.0006}), ALL, inside=False) == 0
    assert choose(costs(3, {3: 0.0003, 2: 0.00025, 1: 0.00019}), ALL, inside=False) == 1, "measured before shares"
    assert choose(costs(3, {3: 1.0}), ALL, inside=False) == 0, "none is: the least"


def test_never_less_than_what_can_be_made_again_nor_more_than_was_begun_with() -> None:
    assert choose(costs(3, {3: 1.0}), Bounds(2, 3, 0.02), inside=False) == 2
    assert choose(costs(2, {2: 1e-9}), Bounds(0, 2, 0.02), inside=False) == 2
    assert choose(costs(0, {}), Bounds(2, 3, 0.02), inside=False) == 2, "learned of meanwhile"


def test_for_little_and_in_short_fits_nothing_is_given_up() -> None:
    full = {3: 0.001}
    assert choose(costs(3, full, spent=FREE_SECONDS), ALL, inside=False) == 3
    assert choose(costs(3, full, passed=SHORT_SECONDS), ALL, inside=False) == 3
    left = Costs(3, full, 0.01, 1.0, SHORT_SECONDS / 2, int(SHORT_SECONDS / 2 / 0.01))
    assert choose(left, ALL, inside=False) == 3
    assert choose(Costs(3, full, 0.01, 1.0, SHORT_SECONDS / 2, 10**6), ALL, inside=False) == 0
    assert choose(costs(3, full, spent=0.0), Bounds(0, 3, 0.0), inside=True) == 0, "where nothing is allowed, at once"


def test_more_is_recorded_again_only_between_epochs_and_well_within_the_budget() -> None:
    known = {3: 0.00011, 0: 0.00001}
    assert choose(costs(0, known), ALL, inside=False) == 2, "3 would cost more than half of what is allowed"
    assert choose(costs(0, {**known, 3: 0.0001}), ALL, inside=False) == 3
    assert choose(costs(0, {**known, 3: 0.0001}), ALL, inside=True) == 0
    assert choose(costs(0, {0: 0.0001}), ALL, inside=False) == 0, "its share says that none of the others would do"


def test_where_nothing_was_measured_nothing_changes() -> None:
    assert choose(costs(3, {}), ALL, inside=False) == 3
    assert choose(costs(3, {3: 1.0}, step=0.0), ALL, inside=False) == 3


def test_a_level_that_was_not_measured_has_its_share_of_the_next_one() -> None:
    assert expected({3: 1.0}, 2) == pytest.approx(0.6)
    assert expected({3: 1.0, 2: 0.5}, 1) == pytest.approx(0.5 * 0.4 / 0.6)
    assert expected({0: 0.1}, 3) == pytest.approx(1.0)


def test_what_is_ours_is_told_by_step_and_by_level() -> None:
    """Sums of given numbers; what the clocks say is in `step` and `passed` alone."""
    meter = Meter(3)
    meter.begin(1)
    for seconds in (0.5, 0.001, 0.001, 0.001, 0.001):  # in the first, something was compiled
        meter.add(seconds)
        meter.stepped()
    meter.wrote(0.002, 3, 1)
    meter.wrote(9.0, 3, 0)  # such as the model's description
    found = meter.costs(6)
    assert found.own == {3: pytest.approx(0.003)}
    assert found.spent == pytest.approx(0.506)
    meter.change(0)
    meter.add(0.25)
    meter.stepped()
    assert meter.costs(7).own == {3: pytest.approx(0.003), 0: pytest.approx(0.25)}
    meter.end(7)
    meter.add(1.0)  # between the epochs
    assert meter.costs(7).spent == pytest.approx(0.756)


def test_what_a_step_takes_is_not_told_by_the_slow_ones_a_fit_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks by hand: a step of 9 s, then such of 1 s each; the look after four has two of these to go by."""
    now = [0.0]
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(f"diagnose.record.costs.time.{clock}", lambda: now[0])
    meter = Meter(3)
    meter.begin(1)
    found = []
    for step, seconds in enumerate((9, 1, 1, 1, 1, 1, 1), start=2):
        now[0] += seconds
        meter.stepped()
        if step in (2, 4, 8):
            found.append(meter.costs(step))
    assert [costs.step for costs in found] == [9.0, 1.0, 1.0]
    assert found[-1].passed == 15.0


# ── in a fit ──


class Scripted:
    """Takes the place of `choose`: levels in their order, whatever was measured."""

    def __init__(self, *found: int) -> None:
        self.found = list(found)

    def __call__(self, costs: Costs, bounds: Bounds, *, inside: bool) -> int:
        return costs.level if inside or not self.found else self.found.pop(0)


def model(*layers: Any) -> Any:
    keras.utils.set_random_seed(4)
    built = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    built.compile("adam", "mse")
    return built


def fit(built: Any, path: Path, *callbacks: Any, epochs: int = 4, **asked: Any) -> Any:
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    tracer = Tracer(path, **asked)
    built.fit(x, x.sum(1), batch_size=8, epochs=epochs, verbose=0, callbacks=[*callbacks, tracer])
    return read_trace(path)


def test_the_trace_says_at_which_level_each_epoch_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in epochs at level 0, Keras's own function is there: a source tells what its steps took."""
    monkeypatch.setattr("diagnose.record.choice.choose", Scripted(0, 3, 1))
    built, hooked = model(), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: hooked.append(hasattr(built.train_function, "__diagnose__"))
    )
    with fit(built, tmp_path / "a.diag", note) as trace:
        assert hooked == [True, False, True, True]
        assert trace.status == "complete"
        assert (trace.header.policy.level, trace.header.policy.overhead) == (3, 0.02)
        assert [(e.epoch, e.step, e.detail.level) for e in trace.events_of(LevelChanged)] == [
            (1, 3, 0),
            (2, 6, 3),
            (3, 9, 1),
        ]
        assert levels(trace) == {1: 3, 2: 0, 3: 3, 4: 1}
        made = [s for s in trace.states if s.label == "version"]
        assert [s.version for s in made] == [0, 1, 2, 3, 6, 7, 8, 9, 12]
        assert [s.step for s in trace.steps if s.metrics_after is not None] == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]


def test_levels_that_were_asked_for_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.record.choice.choose", Scripted(0, 0, 0, 0))
    with fit(model(), tmp_path / "a.diag", level=3, overhead=0.0, epochs=2) as trace:
        assert levels(trace) == {1: 3, 2: 3} and trace.header.policy.overhead is None
    with fit(model(), tmp_path / "b.diag", weights="epochs", epochs=2) as trace:
        assert levels(trace) == {1: 2, 2: 2}


class Moves(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


class Draws(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x * np.random.default_rng().normal()


def test_where_steps_cannot_be_made_again_each_version_is_looked_at(tmp_path: Path) -> None:
    """`overhead=0` asks for the least there is."""
    for place, (built, callbacks, because) in enumerate(
        [(model(), [Moves()], "batch-hooks"), (model(Draws()), [], "own-code"), (model(), [], None)]
    ):
        with fit(built, tmp_path / f"{place}.diag", *callbacks, overhead=0.0, epochs=2) as trace:
            least = 0 if because is None else 2
            assert levels(trace)[2] == least, because
            assert (trace.header.policy.because, trace.header.policy.least) == (because, least or None)


def scaled(x: Any) -> Any:
    return x * hidden()


def hidden() -> float:
    return float(np.random.random())


class Keeps(keras.layers.Layer):
    """Draws with Keras's own generator, whose state is a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


def test_what_draws_outside_of_variables_is_told_by_its_code() -> None:
    from diagnose.record.backends import current_backend

    def why(built: Any) -> str | None:
        return why_not_again(built, current_backend())

    assert why(model(keras.layers.Dropout(0.5), keras.layers.GaussianNoise(0.1))) is None
    assert why(model(Keeps())) is None
    assert why(model(keras.layers.Lambda(lambda x: 2 * x))) is None
    assert why(model(keras.layers.Lambda(scaled))) == "own-code", "by way of a function that it calls"
    built = model()
    built.compile("adam", lambda y, p: keras.ops.mean((y - p) ** 2) * np.random.rand())
    assert why(built) == "own-code"
    built.compile("adam", "mse", metrics=[lambda y, p: keras.ops.mean(y - p)])
    assert why(built) is None


@pytest.mark.parametrize("overhead", [-0.1, float("nan"), float("inf"), True], ids=str)
def test_a_share_that_there_is_not_is_refused(overhead: Any) -> None:
    with pytest.raises(DiagnoseError, match="overhead"):
        Tracer(overhead=overhead)
