"""Models without an `Input` are built in their first step. The weights before it are known all the same, and every step
of the first epoch is replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from tests.replay.fits import BACKEND, fit, labels

ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="other trainers build a model before its first step")


def lazily_built(*middle: Any, **compiled: Any) -> Any:
    keras.utils.set_random_seed(21)
    layers = [keras.layers.Dense(5, activation="tanh"), *middle, keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential(layers)
    model.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"], **compiled})
    return model


class Parts(keras.Model):
    """Has an optimizer for each half, as adversaries have, and updates one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = keras.layers.Dense(4), keras.layers.Dense(1)
        self.of_first, self.of_second = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        for part, optimizer in ((self.first, self.of_first), (self.second, self.of_second)):
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(x) - y) ** 2)
            weights = part.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


def parts() -> Any:
    keras.utils.set_random_seed(21)
    model = Parts()
    model.compile(optimizer="sgd", loss="mse")
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "plain": lazily_built,
    "dropout and batch norm": lambda: lazily_built(keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)),
}
if BACKEND != "torch":
    MODELS["several steps at once"] = lambda: lazily_built(keras.layers.Dropout(0.3), steps_per_execution=2)
if BACKEND == "tensorflow":
    MODELS |= {
        "compiled by XLA": lambda: lazily_built(keras.layers.Dropout(0.3), jit_compile=True),
        "updates of its own": parts,
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_before_the_first_step_are_those_the_model_is_built_with(name: str, tmp_path: Path) -> None:
    x, y = labels()
    built = MODELS[name]()
    built.build((None, 3))
    built(x[:2])
    tracer, _ = fit(tmp_path, MODELS[name](), x=x, y=y)
    with read_trace(tracer.runs[-1].path) as trace:
        first = trace.version(0)
        assert first is not None and first.kept
        places = [i for i, v in enumerate(trace.header.variables) if v.group != "seed"]
        found = [trace.arrays(first)[i] for i in places]
    oracle = built.get_weights()
    assert [a.shape for a in found] == [a.shape for a in oracle]
    assert all(np.array_equal(a, b) for a, b in zip(found, oracle, strict=True))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "updates of its own"])
def test_every_step_of_the_first_epoch_is_reproduced(name: str, tmp_path: Path) -> None:
    x, y = labels()
    replay = fit(tmp_path, MODELS[name](), x=x, y=y)[0].diagnose().replay
    assert replay is not None and replay.reason is None
    assert (replay.steps, replay.reproduced, replay.epochs) == (18, 18, (1, 2, 3))


@ON_TENSORFLOW
def test_nothing_that_looks_is_left_on_the_optimizer(tmp_path: Path) -> None:
    x, y = labels()
    model = parts()
    fit(tmp_path, model, x=x, y=y)
    assert all("apply" not in vars(o) for o in (model.optimizer, model.of_first, model.of_second))


@ON_TENSORFLOW
def test_a_first_step_that_raises_leaves_nothing_on_the_optimizer(tmp_path: Path) -> None:
    x, y = labels()
    model = lazily_built(loss=lambda y_true, y_pred: 1 / 0)
    tracer = Tracer(tmp_path / "fit.diag")
    with pytest.raises(ZeroDivisionError):
        model.fit(x, y, verbose=0, callbacks=[tracer])
    tracer.close()
    assert "apply" not in vars(model.optimizer)
