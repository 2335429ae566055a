from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks

RULE = "augmentation-gap"


def finding(layer: Any, rate: float = 0.0) -> tuple[Any, dict[str, float], dict[str, float]]:
    """The finding, what fit logged, and what Keras's own evaluate returns."""
    keras.utils.set_random_seed(4)
    x = np.zeros((32, 6, 6, 1), "float32")
    x[:, :, 3:] = np.random.default_rng(0).uniform(0.5, 1.0, size=(32, 6, 3, 1))
    y = x.sum(axis=(1, 2, 3))
    weigh_right = np.repeat([0.0, 1.0], 3)[None, :] * np.ones((6, 1))
    dense = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((6, 6, 1)), layer, keras.layers.Flatten(), dense])
    dense.set_weights([weigh_right.reshape(36, 1), np.zeros(1)])  # exact on rows as they are
    model.compile(keras.optimizers.SGD(rate), "mse")
    tracer = Tracer()
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x, y), callbacks=[tracer])
    logged = {name: float(values[-1]) for name, values in history.history.items()}
    evaluated = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    found = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    return found, logged, {name: float(value) for name, value in evaluated.items()}


def test_fails_by_exactly_what_flipping_does_at_rate_zero() -> None:
    found, logged, evaluated = finding(keras.layers.RandomFlip("horizontal", name="flip"))
    assert found.status == "failed"
    assert evaluated["loss"] < 1e-8 < 1.0 < logged["loss"]
    assert found.evidence["amount"] == pytest.approx(evaluated["loss"] - logged["loss"], rel=1e-4)
    assert found.evidence["layers"] == ["flip"] and "'flip'" in found.title
    assert blocks(found.advice)


def test_a_layer_of_the_users_own_that_extends_one_of_keras_counts() -> None:
    class MyFlip(keras.layers.RandomFlip):
        pass

    assert finding(MyFlip("horizontal"))[0].status == "failed"


def test_control_a_range_of_zero() -> None:
    found, logged, evaluated = finding(keras.layers.RandomTranslation(0.0, 0.0))
    assert found.status == "passed"
    assert evaluated["loss"] == pytest.approx(logged["loss"], abs=1e-6)


@pytest.mark.parametrize("layer", [keras.layers.Rescaling(2.0), keras.layers.CenterCrop(6, 6)])
def test_does_not_apply_to_preprocessing_that_is_not_random(layer: Any) -> None:
    assert finding(layer)[0].status == "not-applicable"
