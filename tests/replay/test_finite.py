"""Where one pass first makes a number that is not finite; the places are put there by the test."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from diagnose.replay.keras.finite import not_finite

X = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]], "float32")
Y = np.ones((3, 1), "float32")


def found(model: Any, loss: Any, x: np.ndarray = X) -> Any:
    model.compile("sgd", loss)
    variables = list(model.variables)
    values = [keras.ops.convert_to_tensor(keras.ops.convert_to_numpy(v.value)) for v in variables]
    tensors = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(Y)
    calls = [layer.__dict__.get("call") for layer in model.layers]
    where = not_finite(model, variables, values, *tensors, None, len(x))
    assert calls == [layer.__dict__.get("call") for layer in model.layers]
    return where


def test_the_layer_that_divides_by_zero() -> None:
    unit = keras.layers.Lambda(lambda h: h / keras.ops.sum(keras.ops.abs(h), -1, keepdims=True), name="unit")
    model = keras.Sequential([keras.Input((2,)), unit, keras.layers.Dense(1, name="after")])
    where = found(model, "mse")
    assert (where.cause, where.name, where.kind, where.rows) == ("layer", "unit", "Lambda", (1,))


def test_the_inner_layer_and_not_the_model_around_it() -> None:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda h: 1 / h, name="inverse")], name="inner")
    where = found(keras.Sequential([keras.Input((2,)), inner, keras.layers.Dense(1)]), "mse")
    assert (where.name, where.rows) == ("inverse", (1,))


def test_the_logarithm_in_the_loss() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, activation="relu")])
    model.layers[0].set_weights([np.array([[1.0], [0.0]], "float32")])
    where = found(model, lambda y, p: -keras.ops.log(p))
    assert (where.cause, where.rows, where.zeros) == ("loss", (1,), True)


def test_a_loss_that_overflows_has_no_zeros() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    where = found(model, "mse", X * 1e30 + 1e30)
    assert (where.cause, where.rows, where.zeros) == ("loss", (0, 1, 2), False)


def test_neither() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert found(model, "mse").cause == "update"
