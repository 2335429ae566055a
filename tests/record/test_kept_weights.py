"""In which places a callback's weights are found; digests against those of the arrays, hashed by the test."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.record.kept_weights import kept_weights
from diagnose.tracefile.digest import array_digest, group_digest


def build() -> Any:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )


class Holder(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


def digests(model: Any) -> tuple[str, str]:
    groups = [[array_digest(v.numpy()) for v in model.weights if v.trainable is wanted] for wanted in (True, False)]
    return group_digest(groups[0]).hex(), group_digest(groups[1]).hex()


def clone(model: Any) -> Any:
    other = build()
    other.set_weights(model.get_weights())
    return other


WHOLE = {
    "in a row": (lambda m: m.get_weights(), "self.held"),
    "deep": (lambda m: {"best": 1.0, "of": [{"weights": tuple(m.get_weights())}]}, "self.held['of'][0]['weights']"),
    "by layer": (
        lambda m: {layer.name: layer.get_weights() for layer in m.layers},
        "[array for part in self.held.values() for array in part]",
    ),
    "by variable": (lambda m: {v.path: v.numpy() for v in m.weights}, "list(self.held.values())"),
    "tensors": (lambda m: [keras.ops.copy(v.value) for v in m.weights], "self.held"),
    "another model": (clone, "self.held.get_weights()"),
}


@pytest.mark.parametrize("how", WHOLE)
def test_one_set_of_weights(how: str) -> None:
    model = build()
    make, code = WHOLE[how]
    cb = Holder(make(model))
    (found,) = kept_weights([keras.callbacks.History(), cb], model)
    assert (found["trainable"], found["non_trainable"]) == digests(model)
    assert (found["arrays"], found["callback"], found["place"]) == (code, "Holder", 1)
    arrays = eval(code, {"self": cb})  # what the advice will be made of
    for a, b in zip(arrays, model.get_weights(), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), b)


def test_the_trainable_ones_alone() -> None:
    model = build()
    (found,) = kept_weights([Holder([v.numpy() for v in model.trainable_variables])], model)
    assert (found["trainable"], found["non_trainable"]) == (digests(model)[0], None)


def test_what_a_function_takes_from_outside() -> None:
    model = build()
    kept = {"best": 0.5, "weights": model.get_weights()}
    (found,) = kept_weights([keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept)], model)
    assert (found["arrays"], found["trainable"]) == ("kept['weights']", digests(model)[0])


@pytest.mark.parametrize(
    "held",
    [
        lambda m: [m.get_weights(), m.get_weights()],  # notes of several epochs
        lambda m: {epoch: m.get_weights() for epoch in range(3)},
        lambda m: m,
        lambda m: [np.zeros(3), np.ones(2)],
        lambda m: m.get_weights()[:-1],
    ],
)
def test_what_is_no_set_to_go_back_to(held: Any) -> None:
    model = build()
    assert kept_weights([Holder(held(model))], model) == []
