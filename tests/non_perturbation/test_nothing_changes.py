"""Every kind of fit in `fits.CASES`, traced and not, from the same seed: what it leaves must be equal bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import Tracer, read_trace
from diagnose.record.budget import SHARES, Tier
from tests.non_perturbation.fits import (
    CASES,
    EPOCHS,
    STEPS,
    Case,
    Comparison,
    Outcome,
    differences,
    existing,
    rows,
    run_case,
    run_fit,
)


@pytest.fixture(scope="module")
def untraced(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Comparison]:
    @cache
    def run(name: str) -> Comparison:
        return run_case(CASES[name], tmp_path_factory.mktemp("untraced"))

    return run


def insert(tracer: Tracer, place: str = "last") -> Callable[[list[Any]], list[Any]]:
    def add(callbacks: list[Any]) -> list[Any]:
        at = {"first": 0, "middle": len(callbacks) // 2, "last": len(callbacks)}[place]
        return [*callbacks[:at], tracer, *callbacks[at:]]

    return add


def assert_same(a: Any, b: Any) -> None:
    found = differences(a, b)
    assert not found, "\n".join(found)


def assert_recorded(outcome: Outcome, tracer: Tracer, case: Case) -> None:
    """The traced side really was traced: one step per update, with its batch."""
    complete = case.ends_with is None
    if not tracer.runs:
        # A callback before the tracer raised in on_train_begin.
        assert not complete and outcome.printed == "" and not tracer.path.exists()
        return
    (updates,) = [int.from_bytes(v[3], "little") for v in outcome.model["optimizer"] if v[0] == "iteration"]
    with read_trace(tracer.path) as trace:
        assert [e.detail for e in trace.events if e.kind == "tracer-error"] == []
        assert trace.status == ("complete" if complete else "failed")
        assert len(trace.steps) == updates - case.idle_updates
        assert [s.batch.missing for s in trace.steps] == [None] * len(trace.steps)
        if complete:
            assert [e.epoch for e in trace.epochs] == [e + 1 for e in outcome.epochs or []]
            assert {
                k: [e.logs[k] for e in trace.epochs if k in e.logs] for k in outcome.history or {}
            } == outcome.history


def test_the_oracle_is_stable(untraced: Callable[[str], Comparison], tmp_path: Path) -> None:
    """Two untraced runs are equal, so a difference below is the tracer's."""
    assert_same(untraced("dropout_and_batch_norm"), run_case(CASES["dropout_and_batch_norm"], tmp_path))


@pytest.mark.parametrize("name", existing())
def test_a_traced_fit_is_the_same_fit(name: str, untraced: Callable[[str], Comparison], tmp_path: Path) -> None:
    case = CASES[name]
    plain = untraced(name)
    assert (plain.first.error is None) == (case.ends_with is None)
    if case.ends_with is not None and case.ends_with is not Exception:
        assert plain.first.error is not None and plain.first.error[0] == case.ends_with.__name__
    assert plain.next is None or plain.next.error is None
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(case, tmp_path, insert(tracer))
    assert_same(plain, traced)
    model = traced_model(tracer)
    tracer.close()
    assert_recorded(traced.first, tracer, case)
    assert_unwrapped(model)


def traced_model(tracer: Tracer) -> Any:
    """The model of its last fit, which it keeps; the one it was called for where that fit never began."""
    model = tracer.runs[-1].model if tracer.runs else tracer._model
    assert model is not None
    return model


def assert_unwrapped(model: Any) -> None:
    for function in (model.train_function, model.test_function, model.predict_function):
        assert not hasattr(function, "__diagnose__")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("early_stopping_restore", "first"),
        ("batch_hooks", "first"),
        ("swap_moving_average", "first"),
        ("callback_raises_before_a_batch", "first"),
        ("learning_rate_callback", "middle"),
    ],
)
def test_the_tracers_place_among_the_callbacks_does_not_matter(
    name: str, place: str, untraced: Callable[[str], Comparison], tmp_path: Path
) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(CASES[name], tmp_path, insert(tracer, place))
    assert_same(untraced(name), traced)
    tracer.close()
    assert_recorded(traced.first, tracer, CASES[name])


@pytest.mark.parametrize(
    ("settings", "full"),
    [({"weights": "epochs"}, []), ({}, [Tier.UPDATES, Tier.ROWS]), ({"max_bytes": 1 << 20}, [*Tier][:-1])],
    ids=["epochs only", "budget used up", "room for logs only"],
)
def test_how_much_is_kept_does_not_matter(
    settings: dict[str, Any],
    full: list[Tier],
    untraced: Callable[[str], Comparison],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "dropout_and_batch_norm"
    for tier in full:
        monkeypatch.setitem(SHARES, tier, 0.0)
    tracer = Tracer(tmp_path / "fit.diag", **settings)
    traced = run_case(CASES[name], tmp_path, insert(tracer))
    assert_same(untraced(name), traced)
    with read_trace(tracer.path) as trace:
        steps = 0 if Tier.STEPS in full else STEPS * EPOCHS
        assert trace.status == "complete" and len(trace.steps) == steps and trace.updates == STEPS * EPOCHS
        kept = [s.kept for s in trace.states if s.label == "version" and s.version]
        assert not all(kept)


LIGHT = (
    "dropout_and_batch_norm", "validation_data", "early_stopping_restore", "batch_hooks", "steps_per_execution",
    "swap_moving_average", "learning_rate_callback", "callback_raises_in_validation",
)  # fmt: skip


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", [name for name in LIGHT if name in existing()])
def test_a_light_recording_changes_nothing_either(
    name: str, level: Any, untraced: Callable[[str], Comparison], tmp_path: Path
) -> None:
    tracer = Tracer(tmp_path / "fit.diag", level=level)
    traced = run_case(CASES[name], tmp_path, insert(tracer))
    assert_same(untraced(name), traced)
    tracer.close()
    assert_recorded(traced.first, tracer, CASES[name])


@pytest.mark.parametrize(
    "name", [name for name in (*LIGHT[:2], "steps_per_execution", "swap_moving_average") if name in existing()]
)
def test_nor_does_a_level_that_changes(
    name: str, untraced: Callable[[str], Comparison], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to the least inside an epoch, and up again at its end: what is chosen is not what this is about."""
    chosen = [0, 3, 1, 2]
    monkeypatch.setattr("diagnose.record.choice.choose", lambda costs, bounds, inside: chosen.pop(0) if chosen else 0)
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(CASES[name], tmp_path, insert(tracer))
    assert_same(untraced(name), traced)
    tracer.close()
    with read_trace(tracer.path) as trace:
        assert trace.status == "complete"
        assert sum(e.kind == "level" for e in trace.events) >= 2


def two_fits(tracer: Tracer | None) -> list[Outcome]:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(7)
    case = CASES["dropout_and_batch_norm"]
    model = case.model()
    return [run_fit(model, case.data(), [] if tracer is None else [tracer]) for _ in range(2)]


def test_two_fits_with_one_tracer_make_two_traces(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    plain, traced = two_fits(None), two_fits(tracer)
    assert_same(plain, traced)
    assert sorted(p.name for p in tmp_path.glob("*.diag")) == ["fit-2.diag", "fit.diag"]
    losses = []
    for path in (tmp_path / "fit.diag", tmp_path / "fit-2.diag"):
        with read_trace(path) as trace:
            assert trace.status == "complete"
            assert [s.step for s in trace.steps] == list(range(STEPS * EPOCHS))
            losses.append([e.logs["loss"] for e in trace.epochs])
    assert losses == [(o.history or {})["loss"] for o in traced]


def test_evaluate_and_predict_between_two_traced_fits_see_no_wrapper(tmp_path: Path) -> None:
    def use(tracer: Tracer | None) -> list[Any]:
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(7)
        case = CASES["validation_data"]
        model = case.model()
        x, y = rows(9, seed=4)
        callbacks = [] if tracer is None else [tracer]
        found: list[Any] = [run_fit(model, case.data(), callbacks)]
        found.append(model.evaluate(x, y, verbose=0, return_dict=True))
        found.append(model.predict(x, verbose=0).tobytes())
        found.append({k: float(v) for k, v in model.train_on_batch(x, y, return_dict=True).items()})
        found.append(run_fit(model, case.data(), callbacks))
        return found

    assert_same(use(None), use(Tracer(tmp_path / "fit.diag")))


@pytest.mark.parametrize("name", ["callback_raises_before_a_batch", "callback_raises_in_validation"])
def test_a_wrapper_left_by_a_failed_fit_records_nothing(name: str, tmp_path: Path) -> None:
    """The next fit is not this tracer's, though its wrapper may still be on the model."""
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(CASES[name], tmp_path, insert(tracer, "first"))
    x, y = rows(9, seed=4)
    traced_model(tracer).evaluate(x, y, verbose=0)
    tracer.close()
    assert_unwrapped(traced_model(tracer))
    assert_recorded(traced.first, tracer, CASES[name])
    with read_trace(tracer.path) as trace:
        assert trace.evaluations == ()


def test_a_second_fit_that_looks_back_at_the_first(tmp_path: Path) -> None:
    """Rows that the first fit trained on are validated, and its file is written over: both are recorded, and nothing
    changes, the file included."""
    left: dict[bool, tuple[Any, ...]] = {}
    x, y = rows()
    for traced in (False, True):
        keras.utils.set_random_seed(5)
        folder = tmp_path / str(traced)
        folder.mkdir()
        model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        found: list[Any] = []
        for number, part in enumerate((slice(0, None, 2), slice(1, None, 2))):
            held = slice(1 - part.start, None, 2)
            best = keras.callbacks.ModelCheckpoint(str(folder / "best.weights.h5"), save_weights_only=True)
            tracers = [Tracer(folder / f"{number}.diag")] if traced else []
            history = model.fit(
                x[part],
                y[part],
                validation_data=(x[held], y[held]),
                epochs=2,
                batch_size=4,
                verbose=0,
                callbacks=[best, *tracers],
            )
            found.append(history.history)
        weights = [
            w.tobytes() for w in [*model.get_weights(), *map(keras.ops.convert_to_numpy, model.optimizer.variables)]
        ]
        copy = keras.models.clone_model(model)
        copy.load_weights(folder / "best.weights.h5")
        left[traced] = (found, weights, [w.tobytes() for w in copy.get_weights()])
    assert left[True] == left[False]
    with read_trace(tmp_path / "True" / "1.diag") as trace:
        kinds = {event.kind for event in trace.events}
    assert {"trained-before", "file-replaced"} <= kinds
