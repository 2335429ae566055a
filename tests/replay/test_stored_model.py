"""Models of ordinary kinds come back from the architecture in a trace: with the original's weights they compute, and
are evaluated, as the original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from diagnose import Tracer
from diagnose.analysis.analyze import analyse_file
from diagnose.record import describe
from diagnose.replay.keras.stored_model import build
from diagnose.tracefile.jsontext import from_json, to_json
from diagnose.tracefile.reader import read_trace

OLD = tuple(int(part) for part in keras.__version__.split(".")[:2]) < (3, 9)
TENSORFLOW = keras.config.backend() == "tensorflow"

Made = tuple[Any, Any, Any]
rng = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return rng.normal(size=(6, *shape)).astype("float32")


def sequential() -> Made:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(
                3,
                activation="relu",
                kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02),
                kernel_initializer=keras.initializers.Constant(np.ones((4, 3))),
                bias_constraint=keras.constraints.MaxNorm(1.0),
            ),
            layers.Dropout(0.1, seed=1),
            layers.BatchNormalization(),
            layers.Activation(keras.activations.gelu),
            layers.Dense(1),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(
        keras.optimizers.Adam(rate, use_ema=True),
        loss=keras.losses.Huber(),
        metrics=["mae", keras.metrics.mean_squared_error, keras.metrics.RootMeanSquaredError(name="r")],
        weighted_metrics=[keras.metrics.MeanMetricWrapper(keras.losses.mean_absolute_error, name="w")],
    )
    return model, floats(4), floats(1)


def functional() -> Made:
    """Two inputs and outputs by name, operations among the layers, losses and metrics by name, function and object."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    x = layers.Dense(3, activation=keras.activations.silu)(a)
    y = keras.ops.concatenate([x, b], axis=-1) * 2 + keras.ops.relu(b[:, :1])
    y = keras.ops.mean(keras.ops.reshape(y, (-1, 7)), axis=-1, keepdims=True)
    model = keras.Model(
        {"a": a, "b": b}, {"o": layers.Dense(1, name="o")(y), "p": layers.Dense(2, activation="softmax", name="p")(x)}
    )
    model.compile(
        keras.optimizers.AdamW(0.01),
        loss={"o": "mse", "p": keras.losses.categorical_crossentropy},
        loss_weights={"o": 1.0, "p": 0.5},
        metrics={"o": ["mae"], "p": [keras.metrics.AUC(name="auc"), "accuracy"]},
    )
    return (
        model,
        {"a": floats(4), "b": floats(4)},
        {"o": floats(1), "p": np.eye(2, dtype="float32")[[0, 1, 1, 0, 1, 0]]},
    )


def nested() -> Made:
    """Models in a model, called twice, one compiled itself; a layer shared out of order."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="tanh")], name="inner")
    inner.compile("sgd", loss="mse")
    i = keras.Input((4,))
    other = keras.Model(i, layers.Dense(4)(i), name="other")
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    y = shared(inner(shared(other(x))))
    model = keras.Model(x, layers.Dense(1)(layers.Add()([inner(y), other(y)])))
    model.compile("sgd", loss="mse")
    return model, floats(4), floats(1)


def recurrent() -> Made:
    x = keras.Input((5, 3))
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    y = layers.TimeDistributed(layers.Dense(4, kernel_initializer=keras.initializers.HeNormal(seed=1)))(y)
    y = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)(y)
    y = layers.LSTM(3, return_sequences=True, recurrent_initializer="glorot_uniform")(layers.Masking(0.0)(y))
    model = keras.Model(x, layers.Dense(1)(layers.GlobalAveragePooling1D()(y)))
    model.compile(keras.optimizers.RMSprop(), loss="mse", metrics=["mse"])
    return model, floats(5, 3), floats(1)


def attention() -> Made:
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True)
    y = layers.SpectralNormalization(layers.Dense(4))(layers.LayerNormalization()(x + y))
    y = layers.EinsumDense("abc,cd->abd", output_shape=(5, 2))(layers.GroupNormalization(1)(y))
    model = keras.Model(x, layers.Dense(1)(layers.Flatten()(y)))
    model.compile("adam", loss="mse")
    return model, floats(5, 4), floats(1)


def images() -> Made:
    x = keras.Input((8, 8, 3))
    y = layers.Pipeline([layers.RandomFlip(seed=1), layers.RandomRotation(0.1, seed=2)])(x)
    y = layers.Normalization(mean=[0.0, 0.1, 0.2], variance=[1.0, 1.0, 2.0])(layers.RandomContrast(0.1)(y))
    y = layers.Conv2D(2, 3, kernel_initializer=keras.initializers.VarianceScaling(seed=3))(y)
    y = layers.SeparableConv2D(2, 2)(layers.MaxPooling2D()(layers.Rescaling(0.5, offset=1.0)(y)))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.01, 0.001]), momentum=0.9
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2)],
    )
    return model, floats(8, 8, 3), np.array([0, 1, 2, 0, 1, 2])


def tokens() -> Made:
    x = keras.Input((3,), dtype="int64")
    y = layers.IntegerLookup(vocabulary=[3, 1, 2], output_mode="int")(x)
    y = layers.GlobalAveragePooling1D()(layers.Embedding(8, 3, mask_zero=True)(y))
    model = keras.Model(x, layers.Dense(1)(y))
    model.compile("adam", loss="mse")
    tokens = rng.integers(0, 5, (6, 3))
    tokens[:, 0] = 1  # a row that is masked as a whole has no mean
    return model, tokens, floats(1)


def text() -> Made:
    x = keras.Input((), dtype="string")
    words = layers.TextVectorization(vocabulary=["a", "b", "c"], output_mode="tf_idf", idf_weights=[0.1, 0.2, 0.3])(x)
    letters = layers.StringLookup(vocabulary=["a b", "c"], output_mode="one_hot")(x)
    model = keras.Model(x, layers.Dense(1)(layers.Concatenate()([words, layers.Flatten()(letters)])))
    model.compile("adam", loss="mse")
    import tensorflow as tf

    return model, tf.constant(["a b", "c", "a", "", "b c", "x"]), floats(1)


def mixed() -> Made:
    policy = keras.DTypePolicy("mixed_bfloat16")
    x = keras.Input((4,))
    y = layers.Dense(3, dtype=policy)(x)
    model = keras.Model(x, layers.Dense(1, dtype="float32")(y))
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), loss="mse")
    return model, floats(4), floats(1)


def activation_layer() -> Made:
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1, activation=layers.LeakyReLU(0.3))(x))
    model.compile("sgd", loss="mse")
    return model, floats(4), floats(1)


ONLY_TENSORFLOW = pytest.mark.skipif(not TENSORFLOW, reason="a layer of TensorFlow")
MODELS = [
    *(sequential, functional, nested, recurrent, attention, images, mixed),
    pytest.param(tokens, marks=ONLY_TENSORFLOW),
    pytest.param(text, marks=ONLY_TENSORFLOW),
    pytest.param(
        activation_layer, marks=pytest.mark.skipif(OLD, reason="Keras 3.8 does not load what it has written here")
    ),
]


@pytest.mark.parametrize("make", MODELS)
def test_it_computes_and_is_evaluated_as_the_original(make: Callable[[], Made]) -> None:
    keras.utils.set_random_seed(7)
    model, x, y = make()
    model.train_on_batch(x, y)
    again = build(from_json(to_json(describe.model(model)))["architecture"])
    again.set_weights(model.get_weights())
    assert type(again.optimizer) is type(model.optimizer)
    for one, other in zip(_leaves(again(x, training=False)), _leaves(model(x, training=False)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert again.evaluate(x, y, verbose=0, return_dict=True) == expected and len(expected) >= 1


def _leaves(value: Any) -> list[Any]:
    return [value[key] for key in sorted(value)] if isinstance(value, dict) else [value]


@pytest.mark.parametrize("make", [sequential, functional, nested])
def test_a_trace_of_it_is_analysed_with_its_stored_architecture(make: Callable[[], Made], tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    model, x, y = make()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[Tracer(tmp_path / "fit.diag")])
    with read_trace(tmp_path / "fit.diag") as trace:
        stored = trace.header.model.architecture
    before = to_json(stored)
    again = build(stored)
    assert to_json(stored) == before  # Keras takes entries out of the settings that it compiles from
    found = analyse_file(tmp_path / "fit.diag", again, name="fit")
    assert found.replay.reproduced == found.replay.steps == 4
