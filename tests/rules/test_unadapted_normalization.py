from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks

RULE = "unadapted-normalization"
INPUTS = np.random.default_rng(0).uniform(10.0, 30.0, size=(32, 2)).astype("float32")


def finding(*layers: Any, x: np.ndarray = INPUTS) -> Any:
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0001), "mse")
    tracer = Tracer()
    y = x.reshape(len(x), -1).sum(axis=1)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x, y), callbacks=[tracer])
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def adapted(x: np.ndarray) -> Any:
    layer = keras.layers.Normalization()
    layer.adapt(x)
    return layer


def test_fails_where_the_layer_lets_everything_through() -> None:
    layer = keras.layers.Normalization(name="norm")
    found = finding(layer)
    assert np.array_equal(keras.ops.convert_to_numpy(layer(INPUTS)), INPUTS)
    assert found.status == "failed" and found.effect is None
    assert found.evidence["without_effect"] == ["norm"]
    assert found.evidence["inputs"]["mean"] == pytest.approx(INPUTS.mean(dtype=np.float64))
    assert blocks(found.advice)


@pytest.mark.recorded
def test_fails_inside_another_model() -> None:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Normalization(name="deep"), keras.layers.Dense(3)])
    assert finding(inner).evidence["without_effect"] == ["deep"]


@pytest.mark.recorded
def test_names_only_the_one_without_effect() -> None:
    found = finding(adapted(INPUTS), keras.layers.Normalization(name="second"))
    assert found.status == "failed" and found.evidence["without_effect"] == ["second"]


@pytest.mark.recorded
def test_control_adapted() -> None:
    assert finding(adapted(INPUTS)).status == "passed"


@pytest.mark.recorded
def test_control_mean_and_variance_given() -> None:
    assert finding(keras.layers.Normalization(mean=20.0, variance=33.0)).status == "passed"


@pytest.mark.recorded
def test_control_inputs_that_need_none() -> None:
    """Adapted to such rows, the layer holds exactly what an unadapted one holds."""
    signs = np.tile(np.array([[1.0, -1.0], [-1.0, 1.0]], "float32"), (16, 1))
    assert finding(adapted(signs), x=signs).status == "passed"


def test_control_weights_loaded_into_it() -> None:
    layer = keras.layers.Normalization()
    layer.build((None, 2))
    layer.set_weights([np.full(2, 20.0), np.full(2, 33.0), np.zeros((), "int32")])
    assert finding(layer).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_such_a_layer() -> None:
    assert finding(keras.layers.LayerNormalization()).status == "not-applicable"
