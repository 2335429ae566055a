"""What a trace says about the metrics, so that rules need not know Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.record import describe, describe_metrics

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = np.random.default_rng(1).random((12, 1)).astype("float32")


def described(loss: Any, **compiled: Any) -> dict[str, dict[str, Any]]:
    """The metrics' `count` variables by log name, after one step."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", loss, **compiled)
    model.fit(X, Y, verbose=0)
    return {str(v["log"]): v for v in describe_metrics.metric_variables(model) if v["name"] == "count"}


BCE, SMOOTH = keras.losses.binary_crossentropy, keras.losses.BinaryCrossentropy(label_smoothing=0.1)


@pytest.mark.parametrize(
    ("loss", "metric", "same"),
    [
        ("mse", "mse", True),
        (keras.losses.MeanSquaredError(), "mse", True),
        ("mean_squared_error", keras.metrics.MeanSquaredError(name="mse"), True),
        ("mse", keras.metrics.MeanMetricWrapper(keras.losses.mean_squared_error, name="mse"), True),
        ("mse", "mae", False),
        ("mse", keras.metrics.RootMeanSquaredError(), False),
        (keras.losses.MeanSquaredError(reduction="sum"), "mse", False),
        ("binary_crossentropy", BCE, True),
        (keras.losses.BinaryCrossentropy(), keras.metrics.BinaryCrossentropy(), True),
        (SMOOTH, "binary_crossentropy", False),
        (SMOOTH, keras.metrics.BinaryCrossentropy(label_smoothing=0.1), True),
        (lambda y, p: keras.ops.square(y - p), lambda y, p: keras.ops.square(y - p), False),
    ],
)
def test_tells_which_metric_is_the_losss_own_function(loss: Any, metric: Any, same: bool) -> None:
    found = described(loss, metrics=[metric])
    ((log, of_metric),) = ((k, v) for k, v in found.items() if k != "loss")
    assert (found["loss"]["of_loss"], of_metric["of_loss"], of_metric["metric"]) == (True, False, log)
    assert of_metric["same_as"] == ("loss" if same else None)
    assert found["loss"]["same_as"] is None


def test_a_loss_weight_makes_the_loss_another_function() -> None:
    assert described("mse", metrics=["mse"], loss_weights=1.0)["mse"]["same_as"] == "loss"
    assert described("mse", metrics=["mse"], loss_weights=0.5)["mse"]["same_as"] is None


def test_several_outputs_are_named_as_in_the_logs() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {n: keras.layers.Dense(1, name=n)(inputs) for n in ("p", "q")})
    model.compile(
        "sgd", {"p": "mse", "q": "mae"}, loss_weights={"p": 3.0, "q": 1.0}, metrics={"p": ["mae"], "q": ["mae"]}
    )
    history = model.fit(X, {"p": Y, "q": Y}, verbose=0).history
    found = {v["log"]: (v["of_loss"], v["same_as"]) for v in describe_metrics.metric_variables(model)}
    assert found == {
        "loss": (True, None),
        "p_mae": (False, None),
        "q_mae": (False, "q_loss"),
        "p_loss": (True, None),
        "q_loss": (True, None),
    }
    assert set(found) == set(history)


def test_layers_that_make_a_mask() -> None:
    class Own(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

        def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
            return keras.ops.not_equal(inputs[..., 0], 0)

    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 2, mask_zero=True, name="tokens"),
            keras.layers.Masking(name="masking"),
            Own(name="own"),
            keras.layers.LSTM(2),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    assert describe.model(model)["masking"] == ["tokens", "masking", "own"]
