from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.traced import traced

RULE = "loss-says-nothing"
X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def finding(activation: str, loss: Any, rate: float = 0.1, **arguments: Any) -> tuple[Any, bool]:
    """And whether the weights are what they were before the fit."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation=activation)])
    model.compile(keras.optimizers.SGD(rate), loss)
    before = model.get_weights()
    found = traced(model, X, Y, batch_size=16, **arguments).finding(RULE)
    return found, all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_fails_for_one_unit_of_softmax() -> None:
    found, _ = finding("softmax", "categorical_crossentropy", epochs=2)
    # Keras itself: 0 for whatever one unit gives.
    for given in (0.2, 1.0):
        assert float(keras.losses.CategoricalCrossentropy()(Y[:4], np.full((4, 1), given))) == pytest.approx(
            0.0, abs=1e-6
        )
    assert "0 but for rounding" in found.title or "is 0 whatever" in found.title
    assert found.status == "failed" and found.severity == "wrong" and "one unit" in found.title
    (code,) = blocks(found.advice)
    assert 'activation="sigmoid"' in code and 'loss="binary_crossentropy"' in code
    cured, moved = finding("sigmoid", "binary_crossentropy")
    assert not moved and cured.status == "passed", "the advice"


def test_fails_for_a_loss_without_a_gradient() -> None:
    found, same = finding("sigmoid", lambda t, p: keras.ops.mean(keras.ops.square(t - 0.0 * p), -1))
    assert same and found.status == "failed" and "one unit" not in found.title


def test_control_a_rate_of_zero() -> None:
    found, same = finding("sigmoid", "binary_crossentropy", 0.0)
    assert same and found.status == "passed"
