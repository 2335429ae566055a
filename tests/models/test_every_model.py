"""Every kind of model: all steps replayed, ledgers from History to Keras's own `evaluate`, factors as large as another
way of computing them says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.result.diagnosis import Ledger
from tests.metrics.proof import Proof, assert_everything_explained, factors, prove

layers, ops = keras.layers, keras.ops
BACKEND = keras.config.backend()
ROWS, BATCH = 11, 4
MODES = {"dropout", "batch-norm", "augmentation", "other-training-mode"}
HALF = {"mixed_float16": 1e-2, "mixed_bfloat16": 3e-2}
"""Residual allowed in models that compute in half precision: a few units in the last place of one value."""


def start() -> Any:
    return keras.initializers.GlorotUniform(seed=2)


def dense(units: int, activation: str | None = "tanh", **arguments: Any) -> Any:
    return layers.Dense(units, activation=activation, kernel_initializer=start(), **arguments)


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, *(shape or (4,)))).astype("float32")


def targets(width: int = 1) -> np.ndarray:
    x = np.random.default_rng(3).normal(size=(ROWS, 4))
    return (x @ np.random.default_rng(8).normal(size=(4, width))).astype("float32")


def compiled(model: Any, **arguments: Any) -> Any:
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse", "metrics": ["mae"], **arguments})
    return model


def sequential(*middle: Any, shape: tuple[int, ...] = (4,), **arguments: Any) -> Any:
    return compiled(keras.Sequential([keras.Input(shape), *middle, dense(1, None)]), **arguments)


@dataclass(frozen=True)
class Kind:
    """A kind of model, its data, and the factors of mode that can differ in it."""

    make: Callable[[], Any]
    x: Callable[[], Any] = features
    y: Callable[[], Any] = targets
    modes: frozenset[str] = frozenset()
    fit: dict[str, Any] = field(default_factory=dict)
    residual: float = 1e-5
    backends: tuple[str, ...] = ("tensorflow", "jax", "torch")


# ── how models are written ──


class Subclassed(keras.Model):
    def __init__(self, rate: float = 0.3) -> None:
        super().__init__()
        self.hidden, self.dropout, self.out = dense(6), drop(rate), dense(1, None)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.dropout(self.hidden(x), training=training))


class OwnMode(keras.Model):
    """Behaves differently in training by itself, without a layer that does."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = dense(6), dense(1, None)

    def call(self, x: Any, training: bool = False) -> Any:
        h = self.hidden(x)
        return self.out(0.5 * h if training else h)


def built(model: Any) -> Any:
    model(features())
    return compiled(model)


def branches() -> Any:
    """Two inputs and two outputs by name, with layers that both paths share."""
    wide, narrow = keras.Input((4,), name="wide"), keras.Input((2,), name="narrow")
    shared = dense(3, name="shared")
    h = layers.Concatenate()([shared(dense(5)(wide)), shared(dense(5)(narrow))])
    h = layers.BatchNormalization()(layers.Dropout(0.3, seed=1)(h))
    model = keras.Model(
        {"wide": wide, "narrow": narrow}, {"a": dense(1, None, name="a")(h), "b": dense(2, None, name="b")(h)}
    )
    return compiled(model, loss={"a": "mse", "b": "mae"}, metrics={"a": ["mae"], "b": ["mse"]})


def two_features() -> dict[str, np.ndarray]:
    return {"wide": features(), "narrow": features(2)}


def two_targets() -> dict[str, np.ndarray]:
    return {"a": targets(), "b": targets(2)}


def frozen() -> Any:
    """A trained part that is held still: its batch normalization runs in inference mode even in fit."""
    base = keras.Sequential([keras.Input((4,)), dense(6), layers.BatchNormalization()], name="base")
    base.trainable = False
    return sequential(base)


def half_frozen() -> Any:
    still = dense(6)
    still.trainable = False
    return sequential(still, layers.BatchNormalization())


def normalized() -> Any:
    layer = layers.Normalization()
    layer.adapt(3 * features() + 1)
    return sequential(layer, dense(6))


def discretized() -> Any:
    layer = layers.Discretization(num_bins=3, output_mode="one_hot")
    layer.adapt(features())
    return sequential(layer, layers.Flatten(), dense(6))


def hashed() -> Any:
    layer = layers.IntegerLookup(vocabulary=[1, 2, 3], output_mode="multi_hot")
    return sequential(layer, dense(6))


# ── layers of the user's ──


@keras.saving.register_keras_serializable("diagnose-tests")
class Halves(layers.Layer):
    """With a `training` argument."""

    def call(self, x: Any, training: bool = False) -> Any:
        return 0.5 * x if training else x


@keras.saving.register_keras_serializable("diagnose-tests")
class Block(layers.Layer):
    """Holds layers that know training, and passes the mode on."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.inner, self.norm, self.drop = dense(6), layers.BatchNormalization(), layers.Dropout(0.3, seed=1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(self.norm(self.inner(x), training=training), training=training)


@keras.saving.register_keras_serializable("diagnose-tests")
class Silent(layers.Layer):
    """Holds a layer that knows training, without saying a word of the mode: Keras passes it on."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.drop = layers.Dropout(0.3, seed=1)

    def call(self, x: Any) -> Any:
        return self.drop(x)


@keras.saving.register_keras_serializable("diagnose-tests")
class Counts(layers.Layer):
    """Keeps state that grows with every call in training, and uses it."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            self.calls.assign_add(1.0)
        return x * (1.0 + 0.1 * self.calls)


def recurrent(layer: Any, *more: Any, shape: tuple[int, ...] = (5, 3)) -> Any:
    return sequential(layer, *more, shape=shape)


def stateful(name: str) -> Any:
    x = keras.Input(batch_shape=(BATCH, 5, 3))
    h = getattr(layers, name)(4, stateful=True, kernel_initializer=start(), recurrent_initializer=start())(x)
    return compiled(keras.Model(x, dense(1, None)(h)))


def whole(array: np.ndarray) -> np.ndarray:
    """Without the short last batch, which a stateful layer cannot take."""
    return array[: ROWS // BATCH * BATCH]


def mixed(policy: str) -> Any:
    with_policy = functools.partial(dense, dtype=policy)
    model = keras.Sequential(
        [keras.Input((4,)), with_policy(6), layers.BatchNormalization(dtype=policy), dense(1, None, dtype="float32")]
    )
    return compiled(model)


def drop(rate: float = 0.3) -> Any:
    return layers.Dropout(rate, seed=1)


SEQUENCES = functools.partial(features, 5, 3)
DROPOUT, NORM, OTHER = frozenset({"dropout"}), frozenset({"batch-norm"}), frozenset({"other-training-mode"})
CARRIED = (
    lambda: whole(SEQUENCES()),
    lambda: whole(targets()),
    # Keras on JAX loses what a step writes to these states (3.15.1), so there nothing is carried.
    OTHER if BACKEND != "jax" else frozenset(),
)
"""Data of stateful layers, and where what they carry from fit into `evaluate` is filed."""

KINDS: dict[str, Kind] = {
    "sequential": Kind(lambda: sequential(dense(6), drop()), modes=DROPOUT),
    "without layers that know training": Kind(lambda: sequential(dense(6))),
    "subclassed": Kind(lambda: built(Subclassed()), modes=DROPOUT),
    "subclassed with a mode of its own": Kind(lambda: built(OwnMode()), modes=OTHER),
    "several inputs and outputs by name": Kind(branches, two_features, two_targets, DROPOUT | NORM),
    "no metrics": Kind(lambda: sequential(dense(6), metrics=[])),
    "run_eagerly": Kind(lambda: sequential(dense(6), drop(), run_eagerly=True), modes=DROPOUT),
    "jit_compile": Kind(lambda: sequential(dense(6), jit_compile=True), backends=("tensorflow", "jax")),
    "gradient accumulation": Kind(
        lambda: sequential(dense(6), drop(), optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)),
        modes=DROPOUT,
    ),
    "moving average of weights": Kind(
        lambda: sequential(dense(6), optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    ),
    "clipped and decayed": Kind(
        lambda: sequential(dense(6), optimizer=keras.optimizers.AdamW(0.05, weight_decay=0.1, clipnorm=0.5))
    ),
    "frozen part": Kind(frozen, modes=NORM),
    "frozen layer": Kind(half_frozen, modes=NORM),
    "adapted Normalization": Kind(normalized),
    "Discretization": Kind(discretized, backends=("tensorflow",)),
    "IntegerLookup": Kind(hashed, x=lambda: np.arange(4 * ROWS).reshape(ROWS, 4) % 5, backends=("tensorflow",)),
    "augmentation": Kind(
        lambda: sequential(
            layers.RandomFlip(seed=1), layers.RandomRotation(0.2, seed=2), layers.Flatten(), dense(6), shape=(6, 6, 1)
        ),
        x=lambda: features(6, 6, 1),
        modes=frozenset({"augmentation"}),
    ),
    "convolutional": Kind(
        lambda: sequential(
            layers.Conv2D(2, 3, kernel_initializer=start()),
            layers.BatchNormalization(),
            layers.SpatialDropout2D(0.3, seed=1),
            layers.GlobalAveragePooling2D(),
            shape=(6, 6, 1),
        ),
        x=lambda: features(6, 6, 1),
        modes=DROPOUT | NORM,
    ),
    "SimpleRNN": Kind(lambda: recurrent(layers.SimpleRNN(4, kernel_initializer=start())), SEQUENCES),
    "LSTM with dropout": Kind(
        lambda: recurrent(layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2, seed=1, kernel_initializer=start())),
        SEQUENCES,
        modes=DROPOUT,
    ),
    "cells with dropout": Kind(
        lambda: recurrent(layers.RNN([layers.SimpleRNNCell(4, dropout=0.3, seed=1), layers.SimpleRNNCell(3)])),
        SEQUENCES,
        modes=DROPOUT,
    ),
    "Bidirectional": Kind(
        lambda: recurrent(layers.Bidirectional(layers.LSTM(4, dropout=0.3, seed=1))), SEQUENCES, modes=DROPOUT
    ),
    "TimeDistributed dropout": Kind(
        lambda: recurrent(layers.TimeDistributed(drop()), layers.Flatten()), SEQUENCES, modes=DROPOUT
    ),
    "TimeDistributed batch normalization": Kind(
        lambda: recurrent(layers.TimeDistributed(layers.BatchNormalization()), layers.Flatten()), SEQUENCES, modes=NORM
    ),
    "attention": Kind(lambda: compiled(_attention()), SEQUENCES, modes=DROPOUT),
    "dense, batch normalization, dropout": Kind(
        lambda: sequential(dense(6), layers.BatchNormalization(), drop()), modes=DROPOUT | NORM
    ),
    "nested": Kind(
        lambda: sequential(keras.Sequential([dense(6), keras.Sequential([layers.BatchNormalization(), drop()])])),
        modes=DROPOUT | NORM,
    ),
    "spectral normalization": Kind(lambda: sequential(layers.SpectralNormalization(dense(6))), modes=OTHER),
    "a layer with a training argument": Kind(lambda: sequential(dense(6), Halves()), modes=OTHER),
    "a block of layers": Kind(lambda: sequential(Block()), modes=DROPOUT | NORM),
    "a layer that is silent on the mode": Kind(lambda: sequential(dense(6), Silent()), modes=DROPOUT),
    "a layer that counts": Kind(lambda: sequential(dense(6), Counts()), modes=OTHER),
    "stateful SimpleRNN": Kind(lambda: stateful("SimpleRNN"), *CARRIED),
    "stateful LSTM": Kind(lambda: stateful("LSTM"), *CARRIED, backends=("tensorflow", "jax")),
    **{name: Kind(functools.partial(mixed, name), modes=NORM, residual=residual) for name, residual in HALF.items()},
}


def _attention() -> Any:
    x = keras.Input((5, 3))
    h = layers.MultiHeadAttention(2, 3, dropout=0.3, seed=1, kernel_initializer=start())(x, x)
    return keras.Model(x, dense(1, None)(layers.LayerNormalization()(layers.Flatten()(h))))


@functools.cache
def proof_of(name: str, folder: Callable[[str], Path]) -> Proof:
    kind = KINDS[name]
    if BACKEND not in kind.backends:
        pytest.skip(f"Keras on {BACKEND} has no such model")
    return prove(folder("model"), kind.make, kind.x(), kind.y(), batch_size=BATCH, **kind.fit)


@pytest.mark.parametrize("name", KINDS)
def test_the_model_is_replayed_and_explained(name: str, scratch: Callable[[str], Path]) -> None:
    kind, proof = KINDS[name], proof_of(name, scratch)
    assert proof.history["loss"][0] != proof.history["loss"][1]  # the weights moved
    for ledger in assert_everything_explained(
        proof, residual=kind.residual, evaluated=max(2e-6, kind.residual / 10)
    ).values():
        assert {e.factor for e in ledger.entries} & MODES <= kind.modes


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.modes])
def test_the_modes_that_differ_have_a_factor(name: str, scratch: Callable[[str], Path]) -> None:
    proof = proof_of(name, scratch)
    assert {e.factor for e in proof.ledger("loss").entries} & MODES == KINDS[name].modes


# ── what a factor is worth, found another way ──


def amounts(ledger: Ledger) -> dict[str, float]:
    return {e.factor: e.amount for e in ledger.entries if e.amount}


@pytest.mark.parametrize(
    ("held", "flat"),
    [
        ("subclassed", "sequential"),
        ("a layer that is silent on the mode", "sequential"),
        ("a block of layers", "dense, batch normalization, dropout"),
        ("nested", "dense, batch normalization, dropout"),
    ],
)
def test_the_same_layers_have_the_same_amounts_however_they_are_held(
    held: str, flat: str, scratch: Callable[[str], Path]
) -> None:
    """What holds a layer and passes its mode on has no mode of its own."""
    one, other = proof_of(held, scratch), proof_of(flat, scratch)
    assert one.history["loss"] == pytest.approx(other.history["loss"], rel=1e-6)
    assert amounts(one.ledger("loss")) == {
        factor: pytest.approx(amount, rel=1e-4, abs=1e-6) for factor, amount in amounts(other.ledger("loss")).items()
    }


def without_updates(*middle: Any, **arguments: Any) -> Any:
    return sequential(*middle, optimizer=keras.optimizers.SGD(0.0), **arguments)


def test_without_updates_batch_normalization_is_worth_what_numpy_says(tmp_path: Path) -> None:
    """Momentum 1: the moving averages stay at 0 and 1, so only the statistics of the batches differ."""
    make = functools.partial(without_updates, dense(6), layers.BatchNormalization(momentum=1.0))
    proof = prove(tmp_path, make, features(), targets(), batch_size=BATCH)
    hidden, norm, out = proof.model.layers
    w1, b1, w2, b2 = (np.asarray(v, float) for v in (*hidden.get_weights(), *out.get_weights()))
    h = np.tanh(features().astype(float) @ w1 + b1)
    parts = [slice(i, i + BATCH) for i in range(0, ROWS, BATCH)]
    scaled = np.concatenate([(h[p] - h[p].mean(0)) / np.sqrt(h[p].var(0) + norm.epsilon) for p in parts])

    def mse(values: np.ndarray) -> float:
        return float(np.mean((values @ w2 + b2 - targets()) ** 2))

    loss = assert_everything_explained(proof)["loss"]
    assert loss.logged == pytest.approx(mse(scaled), rel=1e-5)
    assert amounts(loss) == {"batch-norm": pytest.approx(mse(h / np.sqrt(1 + norm.epsilon)) - mse(scaled), rel=1e-4)}


@pytest.mark.parametrize(
    ("middle", "shape", "factor"),
    [
        (lambda: [layers.RandomFlip(seed=1), layers.Flatten()], (6, 6, 1), "augmentation"),
        (lambda: [dense(6), Halves()], (4,), "other-training-mode"),
        (lambda: [layers.TimeDistributed(drop(0.5)), layers.Flatten()], (5, 3), "dropout"),
    ],
    ids=["augmentation", "user's", "wrapper"],
)
def test_without_updates_the_one_mode_is_the_whole_gap(
    middle: Callable[[], list[Any]], shape: tuple[int, ...], factor: str, tmp_path: Path
) -> None:
    proof = prove(
        tmp_path, lambda: without_updates(*middle(), shape=shape), features(*shape), targets(), batch_size=BATCH
    )
    loss = assert_everything_explained(proof)["loss"]
    assert loss.gap != 0.0
    assert amounts(loss) == {factor: pytest.approx(loss.gap, rel=1e-5)}


@pytest.mark.parametrize("name", ["frozen part", "frozen layer"])
def test_batch_normalization_that_is_held_still_explains_nothing(name: str, scratch: Callable[[str], Path]) -> None:
    """In a frozen part it runs in inference mode even in fit; a trainable one beside a frozen layer does not."""
    found = factors(proof_of(name, scratch).ledger("loss"))
    assert ("batch-norm" in found) == (name == "frozen layer")


def test_weights_in_use_after_fit_that_are_moving_averages_are_a_factor(scratch: Callable[[str], Path]) -> None:
    proof = proof_of("moving average of weights", scratch)
    assert "restored-weights" in factors(proof.ledger("loss"))


def test_between_updates_of_gradient_accumulation_there_is_no_lag(tmp_path: Path) -> None:
    """One update in three steps, at the last: what comes before it is computed with the first weights."""

    def make() -> Any:
        return sequential(dense(6), optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=3))

    proof = prove(tmp_path, make, features(), targets(), batch_size=BATCH, epochs=1)
    first = make()
    expected = first.evaluate(features(), targets(), batch_size=BATCH, verbose=0, return_dict=True)
    loss = assert_everything_explained(proof)["loss"]
    assert loss.logged == pytest.approx(expected["loss"], rel=1e-5)
    weights = {row.step: row.values["loss"] for row in proof.diagnosis.step_rows}
    assert len(weights) == 3


def test_a_model_built_in_its_first_step_is_explained_from_it_on(tmp_path: Path) -> None:
    assert_everything_explained(prove(tmp_path, _open_sequential, features(), targets(), batch_size=BATCH))


def _open_sequential() -> Any:
    return compiled(keras.Sequential([dense(6), dense(1, None)]))
