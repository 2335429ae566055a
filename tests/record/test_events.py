"""Who changed the weights, the learning rate, the stop flag, and when; which weights validation saw; what fit left.

The oracle is the callback itself: it keeps its own copies of what it set and saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.record.fits import events, final, fit, held, linear, rows, same


class Sets(keras.callbacks.Callback):
    """Moves the weights in one hook, each time it is called in `epoch` (0-based), and keeps what it made of them."""

    def __init__(self, hook: str, epoch: int = 1) -> None:
        super().__init__()
        self.epoch, self.at, self.made = epoch, 0, []
        self.before: list[Any] = []
        own = getattr(self, hook)

        def sets(*args: Any, **kwargs: Any) -> None:
            own(*args, **kwargs)
            if self.at == self.epoch or hook.startswith("on_train_e"):
                self.before.append(held(self.model))
                self.model.set_weights([w + 1 for w in self.model.get_weights()])
                self.made.append(held(self.model))

        setattr(self, hook, sets)
        # Keras and the tracer look at the class for overridden batch hooks.
        if hook.startswith("on_train_batch"):
            self.__class__ = type("Sets", (Sets,), {hook: lambda self, batch, logs=None: None})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.at = epoch


class Looks(keras.callbacks.Callback):
    """Keeps copies of all variables after every batch and whenever a validation pass begins."""

    def __init__(self) -> None:
        super().__init__()
        self.after_batches: list[list[np.ndarray]] = []
        self.at_tests: list[list[np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.after_batches.append(held(self.model))

    def on_test_begin(self, logs: Any = None) -> None:
        self.at_tests.append(held(self.model))


class Innocent(keras.callbacks.Callback):
    """Stands around; nothing may be put down to it."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.get_weights()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen = logs


@pytest.mark.parametrize("tracer_at", [0, 1, 3])
@pytest.mark.parametrize(
    ("hook", "times"),
    [("on_epoch_begin", 1), ("on_epoch_end", 1), ("on_train_batch_begin", 3), ("on_train_batch_end", 3)],
)
def test_a_callback_that_sets_weights_is_named(hook: str, times: int, tracer_at: int, tmp_path: Path) -> None:
    sets = Sets(hook)
    trace, _ = fit(tmp_path, Innocent(), sets, Innocent(), tracer_at=tracer_at)
    assert events(trace, "weights-changed") == [("Sets", hook, 2)] * times
    changed = [e.detail for e in trace.events if e.kind == "weights-changed"]
    assert len(sets.made) == times
    for detail, before, made in zip(changed, sets.before, sets.made, strict=True):
        assert detail.groups == ("trainable",)
        assert same(trace, trace.states[detail.before], before)
        assert same(trace, trace.states[detail.after], made)


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"])
def test_so_it_is_where_keras_runs_batch_ends_in_a_thread(hook: str, tmp_path: Path) -> None:
    """JAX and torch do so while no callback but Keras's own has an `on_train_batch_end`."""
    sets = Sets(hook)
    trace, model = fit(tmp_path, sets)
    assert {(c, h) for c, h, _ in events(trace, "weights-changed")} == {("Sets", hook)}
    changed = [e.detail for e in trace.events if e.kind == "weights-changed"]
    for detail, made in zip(changed, sets.made, strict=True):
        assert same(trace, trace.states[detail.after], made)
    assert same(trace, final(trace), held(model))


def test_nothing_is_put_down_to_callbacks_that_change_nothing(tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, Innocent(), validation_data=rows(5, seed=1))
    assert sorted(e.kind for e in trace.events) == ["callbacks-final", "train-end"]


def test_every_version_is_what_a_callback_saw_after_that_update(tmp_path: Path) -> None:
    looks = Looks()
    trace, _ = fit(tmp_path, looks)
    assert [(s.step, s.epoch, s.batch_index, s.computed_at, s.produced) for s in trace.steps] == [
        (i, 1 + i // 3, i % 3, i, i + 1) for i in range(6)
    ]
    for version, arrays in enumerate(looks.after_batches, start=1):
        state = trace.version(version)
        assert state is not None and same(trace, state, arrays)


def test_version_0_is_the_state_before_the_first_step(tmp_path: Path) -> None:
    model = linear()
    before = held(model)
    trace, _ = fit(tmp_path, model=model)
    state = trace.version(0)
    assert state is not None and same(trace, state, before)


def test_weights_set_before_the_first_step_are_version_0(tmp_path: Path) -> None:
    sets = Sets("on_train_batch_begin", epoch=0)
    trace, _ = fit(tmp_path, sets, epochs=1, batch_size=12)
    assert same(trace, [s for s in trace.states if s.version == 0][-1], sets.made[0])


def test_early_stopping_is_named_as_the_one_that_restored(tmp_path: Path) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    trace, model = fit(tmp_path, stopping, Innocent(), epochs=9)  # loss falls: the first epoch stays the best
    assert [(c, h) for c, h, _ in events(trace, "weights-changed")] == [("EarlyStopping", "on_train_end")]
    assert final(trace).weights == trace.version(3).weights  # type: ignore[union-attr]
    assert same(trace, final(trace), held(model))
    assert events(trace, "stop-requested") == [("EarlyStopping", "on_epoch_end", 2)]


def test_the_moving_average_that_keras_leaves_in_the_model_is_no_callbacks_work(tmp_path: Path) -> None:
    model = linear(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    trace, _ = fit(tmp_path, Innocent(), model=model)
    assert [(c, h) for c, h, _ in events(trace, "weights-changed")] == [(None, "on_train_end")]
    assert same(trace, final(trace), held(model))


def test_swapping_the_moving_average_is_seen_each_time(tmp_path: Path) -> None:
    looks = Looks()
    model = linear(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    trace, _ = fit(tmp_path, swap, looks, model=model, validation_data=rows(5, seed=1))
    assert {c for c, _, _ in events(trace, "weights-changed")} <= {"SwapEMAWeights", None}
    assert ("SwapEMAWeights", "on_test_begin", 1) in events(trace, "weights-changed")
    assert ("SwapEMAWeights", "on_test_end", 2) in events(trace, "weights-changed")
    for evaluation, seen in zip(trace.evaluations, looks.at_tests, strict=True):
        state = trace.states[evaluation.state]
        assert state.label == "changed" and same(trace, state, seen)
    assert same(trace, final(trace), held(model))


@pytest.mark.parametrize("tracer_at", [0, 1, 2])
def test_validation_is_tied_to_the_weights_it_was_computed_with(tracer_at: int, tmp_path: Path) -> None:
    looks, sets = Looks(), Sets("on_epoch_end", epoch=0)
    trace, _ = fit(tmp_path, sets, looks, tracer_at=tracer_at, validation_data=rows(5, seed=1))
    assert [(e.epoch, e.after_step) for e in trace.evaluations] == [(1, 3), (2, 6)]
    assert [trace.states[e.state].version for e in trace.evaluations] == [3, 6]
    assert [trace.states[e.state].label for e in trace.evaluations] == ["version", "version"]
    for evaluation, seen in zip(trace.evaluations, looks.at_tests, strict=True):
        assert same(trace, trace.states[evaluation.state], seen)


def test_validation_batches_and_logs_are_kept(tmp_path: Path) -> None:
    x, y = rows(5, seed=1)
    history = linear().fit(*rows(), batch_size=4, epochs=2, verbose=0, validation_data=(x, y)).history
    trace, _ = fit(tmp_path, model=linear(), validation_data=(x, y))
    assert [e.logs["loss"] for e in trace.evaluations] == history["val_loss"]
    for evaluation in trace.evaluations:
        assert evaluation.batches is not None
        batches = [trace.batch(ref) for ref in trace.batches(evaluation.batches)]
        assert [b.size for b in batches] == [4, 1]
        assert np.concatenate([b.x for b in batches]).tobytes() == x.tobytes()
        assert np.concatenate([b.y for b in batches]).tobytes() == y.tobytes()


class SetsAtTheEnd(keras.callbacks.Callback):
    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights([0 * w for w in self.model.get_weights()])


@pytest.mark.parametrize("tracer_at", [0, 1, 2])
def test_the_final_state_is_that_after_all_callbacks(tracer_at: int, tmp_path: Path) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    trace, model = fit(tmp_path, stopping, SetsAtTheEnd(), tracer_at=tracer_at, epochs=5)
    assert not any(w.any() for w in model.get_weights())
    assert same(trace, final(trace), held(model))
    assert events(trace, "weights-changed")[-1][:2] == ("SetsAtTheEnd", "on_train_end")


class Stops(keras.callbacks.Callback):
    def __init__(self, hook: str) -> None:
        super().__init__()
        if hook == "on_epoch_end":
            self.on_epoch_end = self._stop
        else:
            self.__class__ = type("Stops", (Stops,), {hook: lambda self, batch, logs=None: self._stop()})

    def _stop(self, *_: Any, **__: Any) -> None:
        self.model.stop_training = True


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end"])
@pytest.mark.parametrize("tracer_at", [0, 2])
def test_who_stopped_the_fit(hook: str, tracer_at: int, tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, Innocent(), Stops(hook), keras.callbacks.TerminateOnNaN(), tracer_at=tracer_at)
    assert events(trace, "stop-requested") == [("Stops", hook, 1)]
    assert len(trace.epochs) == 1


def test_learning_rate_changes_are_named_with_both_rates(tmp_path: Path) -> None:
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 if epoch == 1 else rate)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=1e9)
    trace, model = fit(tmp_path, schedule, Innocent(), plateau, epochs=3)
    found = [
        (e.detail.callback, e.detail.hook, e.detail.before, e.detail.after)
        for e in trace.events
        if e.kind == "learning-rate"
    ]
    assert found[0] == ("LearningRateScheduler", "on_epoch_begin", float(np.float32(0.1)), 0.5)
    assert ("ReduceLROnPlateau", "on_epoch_end", 0.5, 0.25) in found
    assert {c for c, *_ in found} == {"LearningRateScheduler", "ReduceLROnPlateau"}
    assert trace.epochs[-1].learning_rate == float(model.optimizer.learning_rate.value)


def test_a_schedules_rate_is_that_of_the_next_update(tmp_path: Path) -> None:
    model = linear(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)))
    trace, _ = fit(tmp_path, model=model)
    assert [e.learning_rate for e in trace.epochs] == pytest.approx(
        [0.1 * 0.5 ** (3 / 3), 0.1 * 0.5 ** (6 / 3)], rel=1e-6
    )
    assert events(trace, "learning-rate") == []


def test_seeds_that_move_on_are_not_weights(tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    trace, _ = fit(tmp_path, model=model)
    groups = [v["group"] for v in trace.info["variables"]]
    assert sorted(groups) == ["seed", "trainable", "trainable"]
    states = [trace.version(v) for v in range(len(trace.steps) + 1)]
    assert len({s.weights for s in states if s is not None}) == 1
    assert len({s.seeds for s in states if s is not None}) == len(states)
    assert len({s.arrays for s in states if s is not None}) == len(states)


@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="only torch draws unseeded dropout from a global generator"
)
def test_the_global_generator_is_kept_as_it_was_before_each_step(tmp_path: Path) -> None:
    import torch

    seen: list[bytes] = []

    class LooksAtGenerator(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(torch.get_rng_state().numpy().tobytes())

    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    trace, _ = fit(tmp_path, LooksAtGenerator(), model=model)
    kept = [trace.array(s.generator).tobytes() for s in trace.steps if s.generator is not None]
    assert len(set(seen)) == 6 and [k[: len(s)] for k, s in zip(kept, seen, strict=True)] == seen


class ForgetsMomenta(keras.callbacks.Callback):
    """Sets the optimizer's slots to zero after the second epoch, as users do between phases of training."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            for v in self.model.optimizer.variables:
                if v is not self.model.optimizer._learning_rate:
                    v.assign(np.zeros(v.shape, str(v.dtype)))


class LowersRate(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)


def test_who_changed_the_optimizers_state(tmp_path: Path) -> None:
    from diagnose import Tracer, read_trace
    from diagnose.tracefile.events import OptimizerChanged

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    tracer = Tracer(tmp_path / "fit.diag")
    callbacks = [Innocent(), LowersRate(), ForgetsMomenta(), keras.callbacks.EarlyStopping("loss"), tracer]
    model.fit(x, x.sum(1), batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
    trace = read_trace(tmp_path / "fit.diag")
    found = [(e.epoch, e.detail) for e in trace.events if e.kind == "optimizer-changed"]
    trace.close()
    assert found == [(2, OptimizerChanged(callback="ForgetsMomenta", hook="on_epoch_end"))]
