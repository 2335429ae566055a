"""Which numbers outside the model are seen to change; no fit is needed for that."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from diagnose.record.outside import Outside

SETTINGS = {"beta": 0.5, "name": "x"}
TEMPERATURE = 5.0


class Soft(keras.layers.Layer):  # type: ignore[misc]
    def call(self, inputs: Any) -> Any:
        return inputs / TEMPERATURE


class Loss(keras.losses.Loss):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="loss")
        self._gamma = 2.0
        self.shares = np.ones(3)
        self.many = np.ones(1000)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.square(y_true - y_pred) * SETTINGS["beta"]


def test_what_is_looked_into(monkeypatch: Any) -> None:
    loss, rate = Loss(), keras.Variable([1.0, 2.0], trainable=False, name="rate")
    smooth = keras.losses.CategoricalCrossentropy(label_smoothing=0.3)
    dropout, inputs = keras.layers.Dropout(0.1, name="drop"), keras.Input((2,))
    one = keras.layers.Dense(1, name="one")(Soft(name="soft")(dropout(inputs)))
    two = keras.layers.Dense(2, name="two")(inputs)
    model = keras.Model(inputs, [one, two])
    model.compile("sgd", [loss, smooth])
    callback = keras.callbacks.Callback()
    callback.__class__ = type("Mine", (keras.callbacks.Callback,), {"__module__": __name__})
    callback.rate, callback.count = rate, 0
    told: list[tuple[Any, ...]] = []
    outside = Outside(
        model,
        [callback],
        lambda kind, d: told.append((d["of"], d["name"], d["before"], d["after"], d["plain"])),
    )
    outside.look()
    outside.look()
    assert told == []
    loss._gamma, loss.shares[1], loss.many[5] = 1.0, 4.0, 2.0
    smooth._fn_kwargs["label_smoothing"] = 0.1
    monkeypatch.setitem(SETTINGS, "beta", 0.75)
    monkeypatch.setitem(globals(), "TEMPERATURE", 1.0)
    dropout.rate, callback.count = 0.5, 7
    rate.assign([1.0, 3.0])
    outside.look()
    assert sorted(told) == [
        ("Mine", "rate[1]", 2.0, 3.0, False),
        ("layer 'drop'", "rate", 0.1, 0.5, True),
        ("layer 'soft'", "TEMPERATURE", 5.0, 1.0, True),
        ("the loss 'categorical_crossentropy'", "label_smoothing", 0.3, 0.1, True),
        ("the loss 'loss'", "SETTINGS['beta']", 0.5, 0.75, True),
        ("the loss 'loss'", "_gamma", 2.0, 1.0, True),
        ("the loss 'loss'", "shares[1]", 1.0, 4.0, True),
    ]
