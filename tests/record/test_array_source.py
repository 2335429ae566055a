"""Fits on arrays at level 0: nobody looks at single steps, and the trace has the steps that a look at each gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.record.at_source import CHANGED, AtSource
from diagnose.record.backends import current_backend
from diagnose.record.items import Snapshot, StepsItem
from diagnose.record.light import LastStep
from diagnose.record.taking import Taker
from diagnose.record.told import OTHER_FUNCTION
from diagnose.tracefile.model import Layout

pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data")

ROWS = 22
KINDS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "validation split": {"validation_split": 0.2},
    "an epoch that is cut": {"steps_per_epoch": 2, "epochs": 4},
    "over several epochs": {"steps_per_epoch": 4, "epochs": 3},
    "sample weights": {"sample_weight": np.arange(ROWS) / 7},
    "class weights": {"class_weight": {0: 1.0, 1: 2.5}},
    "begun later": {"initial_epoch": 1, "epochs": 3},
}
BY_HOOKS = ("shuffled in batches", "own batch hook")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3))  # float64: Keras trains on other bytes than these
    return x, (x[:, :1] > 0).astype("int64")


def trained(**compiled: Any) -> Any:
    """A model of which each fit draws the same numbers: for the first one, Keras draws a batch more."""
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    made.compile("sgd", "mse", **compiled)
    made.fit(*data(), verbose=0)
    return made


@pytest.fixture(scope="module")
def model() -> Any:
    return trained()


class Watched:
    """How many steps the hooks around them saw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diagnose.record.wiring import TrainHook

        self.seen = 0
        before = TrainHook.before

        def counted(hook: Any, *args: Any) -> None:
            self.seen += 1
            before(hook, *args)

        monkeypatch.setattr(TrainHook, "before", counted)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def steps_of(path: Path) -> list[Any]:
    with read_trace(path) as trace:
        assert trace.status == "complete"
        assert [e.detail for e in trace.events if e.kind == "tracer-error"] == []
        found = []
        for step in trace.steps:
            batch = trace.batch(step.batch)
            weight = None if batch.sample_weight is None else batch.sample_weight.tobytes()
            numbers = (
                step.step,
                step.epoch,
                step.batch_index,
                step.produced,
                step.generator,
                step.batch.row_ids.tolist(),
            )
            found.append((*numbers, batch.x.tobytes(), batch.y.tobytes(), weight, step.batch.layout))
        return found


def fit(model: Any, level: int, folder: Path, *callbacks: Any, **arguments: Any) -> tuple[list[Any], Any]:
    """The steps in the trace of one fit, always from the same seed, and what it logged."""
    x, y = data()
    model.set_weights([np.ones(w.shape) for w in model.get_weights()])
    keras.utils.set_random_seed(5)
    path = folder / f"level-{level}.diag"
    arguments = {"x": x, "y": y, "batch_size": 8, "epochs": 2, "verbose": 0, **arguments}
    history = model.fit(callbacks=[Tracer(path, level=level), *callbacks], **arguments).history
    return steps_of(path), history


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_is_looked_at_and_the_trace_has_each(
    kind: str, model: Any, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, logged = fit(model, 0, tmp_path, **KINDS[kind])
    assert watched.seen == 1  # the first shows whether the source tells the same
    by_place, _ = fit(model, 2, tmp_path, **KINDS[kind]) if current_backend().copies_arrays else (told, None)
    with_none(monkeypatch)
    watched.seen = 0
    looked_at, history = fit(model, 1, tmp_path, **KINDS[kind])
    assert watched.seen == len(looked_at)
    assert told == by_place == looked_at
    assert logged == history


def with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No source: each batch is taken where it is drawn."""
    monkeypatch.setattr(type(current_backend()), "tap_arrays", lambda self, epoch_iterator: None)


class InBatches(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None: ...


@pytest.mark.parametrize("kind", BY_HOOKS)
def test_where_the_source_cannot_tell_each_step_is_looked_at(
    kind: str, model: Any, watched: Watched, tmp_path: Path
) -> None:
    own = [InBatches()] if kind == "own batch hook" else []
    found, _ = fit(model, 0, tmp_path, *own, **({} if own else {"shuffle": "batch"}))
    assert watched.seen == len(found) == 6


@pytest.mark.skipif(keras.config.backend() == "torch", reason="Keras has no such executions there")
def test_several_steps_of_one_execution(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(steps_per_execution=2)
    told, _ = fit(model, 0, tmp_path)
    most = watched.seen
    if current_backend().copies_arrays:
        assert told == fit(model, 2, tmp_path)[0]
    with_none(monkeypatch)
    looked_at, _ = fit(model, 1, tmp_path)
    assert most <= 2 and told == looked_at and len(told) == 6


class Writes(keras.callbacks.Callback):
    """Writes into the arrays of the fit between two epochs."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self.x = x

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.x[:] = -self.x


def test_what_a_callback_writes_into_the_arrays_is_in_the_trace_where_it_is_trained_on(
    model: Any, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for level in (0, 1):
        if level:
            with_none(monkeypatch)
        x = data()[0].astype("float32")
        found.append(fit(model, level, tmp_path, Writes(x), x=x, epochs=3)[0])
    assert watched.seen == 1 + 9
    assert found[0] == found[1]


# ── the source by itself, over iterators of Keras's ──


def iterator(x: Any, y: Any, **arguments: Any) -> Any:
    """What `fit` goes over."""
    kept: list[Any] = []
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    class Looks(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            import sys

            kept.append(sys._getframe(2).f_locals["epoch_iterator"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=[Looks()], verbose=0, **arguments)
    return kept[0]


def batches_of_an_epoch(epoch_iterator: Any) -> list[Any]:
    """As the trainers take them."""
    found: list[Any] = []
    for *_, drawn in epoch_iterator:
        found += drawn if isinstance(drawn, list) else [next(drawn)]
    return found


def test_the_source_gives_the_batches_that_keras_gave() -> None:
    epoch_iterator = iterator(*data(), batch_size=8)
    source = current_backend().tap_arrays(epoch_iterator)
    assert source is not None
    taker = Taker(current_backend())
    for _ in range(3):
        source.begin_epoch()
        real = [taker.take(batch) for batch in batches_of_an_epoch(epoch_iterator)]
        assert source.batches() == len(real) == 3
        at = AtSource(source, taker)
        assert at.take_over(real)
        contents, places = at.rows(0, 3)
        again = contents.rows(places)
        assert again is not None
        assert [leaf.tobytes() for leaf in again.leaves] == [
            b"".join(batch.leaves[n].tobytes() for batch in real) for n in range(2)
        ]


def test_of_arrays_written_into_during_an_epoch_no_row_is_said() -> None:
    x, y = data()[0].astype("float32"), data()[1]
    epoch_iterator = iterator(x, y, batch_size=8)
    source = current_backend().tap_arrays(epoch_iterator)
    assert source is not None
    source.begin_epoch()
    real = [Taker(current_backend()).take(batch) for batch in batches_of_an_epoch(epoch_iterator)]
    at = AtSource(source, Taker(current_backend()))
    assert at.take_over(real[:1])
    x[3] += 1
    found = at.rows(1, 3)
    assert found == CHANGED if source.changing else not isinstance(found, str)  # TensorFlow trains on a copy
    assert not isinstance(at.rows(1, 3), str)  # of what it is now


def test_another_batch_than_the_source_tells_is_not_taken_over() -> None:
    epoch_iterator = iterator(*data(), batch_size=8)
    source = current_backend().tap_arrays(epoch_iterator)
    assert source is not None
    source.begin_epoch()
    taker = Taker(current_backend())
    real = [taker.take(batch) for batch in batches_of_an_epoch(epoch_iterator)]
    assert not AtSource(source, taker).take_over(real[1:2])


@pytest.mark.parametrize("order", ["twice", "of another length"])
def test_an_order_that_cannot_be_is_not_used(order: str) -> None:
    epoch_iterator = iterator(*data(), batch_size=8)
    source = current_backend().tap_arrays(epoch_iterator)
    assert source is not None
    source.begin_epoch()
    batches_of_an_epoch(epoch_iterator)
    assert source.places(0, 1) is not None
    source.anew()
    for _ in range(2 if order == "twice" else 1):
        source.note(np.arange(ROWS if order == "twice" else 3))
    source._used = source._made
    assert source.places(0, 1) is None


def test_metrics_made_in_a_step_that_nobody_looked_at_leave_the_state_after_it() -> None:
    for grown, before in ((b"1234", b"1234"), (b"12345678", None)):
        put: list[Any] = []
        last = LastStep(put.append)
        rows = (None, np.arange(2))
        last.put(StepsItem(3, 2, 0, 2, rows, 1, b"1234", None, None, 0.1, None, Layout(), None))  # type: ignore[arg-type]
        last.seen(Snapshot([]), grown)
        assert [(item.metrics_before, item.metrics_after) for item in put] == [(before, grown)]


class Replaces(keras.callbacks.Callback):
    """Has the second epoch made by a function of its own."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            inner = self.model.train_function
            self.model.train_function = lambda *arguments: inner(*arguments)


@pytest.mark.parametrize(
    ("level", "together"), [(0, 1), (2, 1), (2, 3)] if current_backend().copies_arrays else [(0, 1)]
)
def test_of_steps_that_another_function_made_no_row_is_said(level: int, together: int, tmp_path: Path) -> None:
    x, y = data()
    path = tmp_path / "fit.diag"
    trained(steps_per_execution=together).fit(
        x, y, batch_size=8, epochs=2, verbose=0, callbacks=[Tracer(path, level=level), Replaces()]
    )
    with read_trace(path) as trace:
        missing = [step.batch.missing for step in trace.steps]
    assert missing == [None] * 3 + [OTHER_FUNCTION] * 3
