"""Monte Carlo dropout stays on in `evaluate`: each call gives another value.

What the user sees: two calls of `evaluate`, one after the other, on the same rows, with two results; and a `val_loss`
that jumps about. Asked in keras#9412 and in many questions on Monte Carlo dropout.

Why: the layer's `call` says that it trains, whatever it is told, so `evaluate` draws units to drop, too.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "random-evaluate", "failed": ["random-evaluate"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")


class MonteCarloDropout(keras.layers.Dropout):
    def call(self, inputs, training=False):
        return super().call(inputs, training=True)


inputs = keras.Input((12,))
hidden = keras.layers.Dense(16, activation="relu")(inputs)
hidden = MonteCarloDropout(0.5)(hidden)
outputs = keras.layers.Dense(1, activation="sigmoid")(hidden)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(0.001), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x[:160], y[:160], batch_size=40, epochs=3, validation_data=(x[160:], y[160:]), verbose=2)

for _ in range(2):
    print(f"evaluate: loss {model.evaluate(x, y, verbose=0)[0]:.4f}")
