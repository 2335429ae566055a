"""Models that train well and raise when something else is asked of them: at analysis time, in each place where replay
runs code of the user's. `broken` is set once fit is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tests.replay.own_models import Own


class Broken(Exception):
    """What the user's code raises."""


class State:
    """What is broken; one for each model."""

    def __init__(self) -> None:
        self.on = False

    def check(self) -> None:
        if self.on:
            raise Broken("not at this time")


class Call(keras.layers.Layer):
    """Raises in `call`, in inference mode only if so asked."""

    def __init__(self, state: State, *, inference_only: bool) -> None:
        super().__init__()
        self.state, self.inference_only = state, inference_only

    def call(self, x: Any, training: bool = False) -> Any:
        if not (self.inference_only and training):
            self.state.check()
        return x * 1.0


class TestStep(keras.Sequential):
    state: State

    def test_step(self, *args: Any) -> Any:
        self.state.check()
        return super().test_step(*args)


class TrainStep(Own):
    state: State

    def train_step(self, *args: Any) -> Any:
        self.state.check()
        return super().train_step(*args)


class ComputeLoss(keras.Sequential):
    state: State

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        self.state.check()
        return super().compute_loss(*args, **kwargs)


class Update(keras.metrics.MeanAbsoluteError):
    def __init__(self, state: State) -> None:
        super().__init__(name="mae")
        self.state = state

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        self.state.check()
        return super().update_state(*args, **kwargs)


class Result(keras.metrics.MeanAbsoluteError):
    def __init__(self, state: State) -> None:
        super().__init__(name="mae")
        self.state = state

    def result(self) -> Any:
        self.state.check()
        return super().result()


class Metrics(keras.Sequential):
    """Raises in the property that analysis looks at first."""

    state: State

    @property
    def metrics(self) -> Any:
        if "state" in vars(self):
            self.state.check()
        return super().metrics


def layers() -> list[Any]:
    return [keras.layers.Dense(3, activation="tanh"), keras.layers.Dropout(0.3), keras.layers.Dense(1)]


def made(cls: type[Any] = keras.Sequential, metric: Any = "mae", *more: Any, loss: Any = "mse") -> Any:
    model = cls([keras.Input((4,)), *layers(), *more])
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=[metric])
    return model


def _of_class(cls: type[Any]) -> Callable[[State], Any]:
    def make(state: State) -> Any:
        model = made(cls)
        object.__setattr__(model, "state", state)
        return model

    return make


KINDS: dict[str, Callable[[State], Any]] = {
    "call": lambda state: made(keras.Sequential, "mae", Call(state, inference_only=False)),
    "call in inference mode": lambda state: made(keras.Sequential, "mae", Call(state, inference_only=True)),
    "test_step": _of_class(TestStep),
    "train_step": _of_class(TrainStep),
    "compute_loss": _of_class(ComputeLoss),
    "metrics": _of_class(Metrics),
    "update_state": lambda state: made(keras.Sequential, Update(state)),
    "result": lambda state: made(keras.Sequential, Result(state)),
}
"""By the place that raises."""


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).astype("float32")
    return x, x.sum(1, keepdims=True)


def contents(model: Any, *more: Any) -> list[Any]:
    """Everything of a model that an analysis could change: variables by value, functions, parts and flags by
    identity."""
    optimizer = model.optimizer
    variables = [*model.variables, *model.metrics_variables, *optimizer.variables, *more]
    found: list[Any] = [np.array(keras.ops.convert_to_numpy(v)).tolist() for v in variables]
    found += [bool(v.trainable) for v in model.variables]
    found += [bool(layer._trainable) for layer in model._flatten_layers()]
    found += [id(getattr(model, name, None)) for name in ("train_function", "test_function", "optimizer")]
    found += [id(getattr(model, name, None)) for name in ("_compile_loss", "_compile_metrics", "_loss_tracker")]
    found += [bool(optimizer.built), len(optimizer.variables), bool(getattr(model, "training", False))]
    return [*found, sorted(vars(model))]
