"""Control: Keras's own dropout is off in `evaluate`, and each call gives the same.

What the user sees: two calls of `evaluate` with one result, and a higher loss from fit, which trains with dropout.

Nobody reported this one: it is the nearest healthy neighbour of `random_evaluate`. The cost of dropout in fit's own
values is what `dropout-gap` says.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "random-evaluate", "failed": ["dropout-gap"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")

inputs = keras.Input((12,))
hidden = keras.layers.Dense(16, activation="relu")(inputs)
hidden = keras.layers.Dropout(0.5)(hidden)
outputs = keras.layers.Dense(1, activation="sigmoid")(hidden)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(0.001), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x[:160], y[:160], batch_size=40, epochs=3, validation_data=(x[160:], y[160:]), verbose=2)

for _ in range(2):
    print(f"evaluate: loss {model.evaluate(x, y, verbose=0)[0]:.4f}")
