"""What the user's model raises at analysis time is said, costs what needs it and nothing else, and leaves the model as
it was."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.result.diagnosis import Diagnosis
from tests.replay.own_models import BACKEND, Own
from tests.replay.raising_models import KINDS, State, contents, data, layers, made


def diagnosed(model: Any, path: Any, state: State | None = None, **fit: Any) -> tuple[Diagnosis, Any]:
    """A traced fit, analysed once `state` is broken; and its history."""
    tracer = Tracer(path / "run.diag")
    x, y = data()
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[tracer], **fit)
    if state is not None:
        state.on = True
    return tracer.diagnose(), history.history


@pytest.mark.parametrize("kind", KINDS)
def test_what_raises_is_said_and_the_model_is_as_before(kind: str, tmp_path: Any) -> None:
    keras.utils.set_random_seed(1)
    state = State()
    model = KINDS[kind](state)
    x, y = data()
    tracer = Tracer(tmp_path / "run.diag")
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    fit = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[stop, tracer], validation_data=(x, y))
    before = contents(model)
    state.on = True
    diagnosis = tracer.diagnose()
    state.on = False
    assert contents(model) == before
    assert [row.logged["loss"] for row in diagnosis.epoch_rows] == fit.history["loss"]
    assert diagnosis.restoration is not None
    assert diagnosis.problems and all("Broken: not at this time" in p for p in diagnosis.problems)
    assert diagnosis.notice is not None and "raised Broken: not at this time" in diagnosis.notice
    # It can be trained, evaluated and diagnosed as if nothing had been.
    again = tracer.diagnose()
    assert again.problems == () and again.replay is not None and again.replay.reproduced == again.replay.steps == 6
    model.fit(x, y, batch_size=8, verbose=0)
    model.evaluate(x, y, verbose=0)


@pytest.mark.parametrize("kind", ["test_step", "call in inference mode"])
def test_what_does_not_need_it_is_still_measured(kind: str, tmp_path: Any) -> None:
    keras.utils.set_random_seed(1)
    state = State()
    diagnosis, _ = diagnosed(KINDS[kind](state), tmp_path, state)
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == diagnosis.replay.steps == 6
    assert not diagnosis.ledgers
    assert "no evaluation to compare it with" in diagnosis.headline


def test_interrupt_passes_and_gives_the_model_back(tmp_path: Any) -> None:
    state = State()
    model = KINDS["call"](state)
    tracer = Tracer(tmp_path / "run.diag")
    x, y = data()
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[tracer])
    before = contents(model)

    def interrupt() -> None:
        raise KeyboardInterrupt

    state.check = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        tracer.diagnose()
    assert contents(model) == before


def test_compiled_with_an_optimizer_only(tmp_path: Any) -> None:
    """Its own step has a loss, Keras's own `test_step` has none; what Keras says of that is told."""

    class OwnLoss(Own):
        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **more: Any) -> Any:
            if rest or more:  # as Keras's test step calls it
                return super().compute_loss(x, y, y_pred, *rest, **more)
            return keras.ops.mean((y_pred - y) ** 2)

    keras.utils.set_random_seed(1)
    model = OwnLoss([keras.Input((4,)), *layers()])
    model.compile(keras.optimizers.Adam(0.01))
    tracer = Tracer(tmp_path / "run.diag")
    x, y = data()
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[tracer]).history
    before = contents(model)
    diagnosis = tracer.diagnose()
    assert contents(model) == before
    assert [row.logged for row in diagnosis.epoch_rows] == [{n: v[e] for n, v in history.items()} for e in range(2)]
    if BACKEND != "jax":  # where `test_step` calls `compute_loss` as the guide's own step does
        assert any("No loss to compute" in p for p in diagnosis.problems)
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 6


@pytest.mark.skipif(BACKEND == "jax", reason="a JAX train step returns the state of one optimizer")
def test_two_optimizers_of_its_own_are_given_back(tmp_path: Any) -> None:
    class Two(Own):
        def compile(self, first: Any, second: Any) -> None:
            super().compile(loss="mse", metrics=["accuracy"])  # Keras's default optimizer, which nothing uses
            self.both = {"first": first, "second": [second]}

        def train_step(self, data: Any) -> Any:
            unused, self.optimizer = self.optimizer, self.both["first"]
            try:
                super().train_step(data)
                self.optimizer = self.both["second"][0]
                return super().train_step(data)
            finally:
                self.optimizer = unused

    keras.utils.set_random_seed(1)
    model = Two([keras.Input((4,)), *layers()])
    first, second = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01, momentum=0.9)
    first.build(model.trainable_variables)
    second.build(model.trainable_variables)
    model.compile(first, second)
    tracer = Tracer(tmp_path / "run.diag")
    x, y = data()
    model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[tracer])
    before = contents(model, *first.variables, *second.variables)
    assert model.optimizer.built == (BACKEND == "torch")  # there Keras's fit builds it all the same
    diagnosis = tracer.diagnose()
    assert contents(model, *first.variables, *second.variables) == before
    # What the second computes depends on the state of the first, which the trace holds.
    assert diagnosis.replay is not None and diagnosis.replay.steps == diagnosis.replay.reproduced == 6
    assert diagnosis.problems == ()


@pytest.mark.parametrize("odd", ["nan", "text", "none", "vector", "nested"])
def test_logs_with_odd_values(odd: str, tmp_path: Any) -> None:
    values: dict[str, Any] = {
        "nan": float("nan"), "text": "fine", "none": None, "vector": np.ones(3), "nested": {"a": 1.0},
    }  # fmt: skip

    class Puts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["odd"] = values[odd]

    model = made()
    tracer = Tracer(tmp_path / "run.diag")
    x, y = data()
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[Puts(), tracer]).history
    diagnosis = tracer.diagnose()
    assert diagnosis.problems == ()
    assert [row.logged["loss"] for row in diagnosis.epoch_rows] == history["loss"]
    assert ("odd" in diagnosis.epoch_rows[0].logged) == (odd == "nan")
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 6
