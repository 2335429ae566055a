"""Training resumed with `load_weights` and `initial_epoch`: Keras skips the optimizer, and it starts from nothing.

What the user sees: the epochs go on counting from 5, but the first of them does not go on like the one before it; a
warning "Skipping variable loading for optimizer" goes by (keras#2378, tf#40342).

Why: a `.weights.h5` file holds the optimizer's variables, too, but a newly compiled optimizer has none yet that they
could be loaded into; it makes them, all zero, in the first step, and counts its updates from 0 again.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "optimizer-not-restored", "failed": ["optimizer-not-restored"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(240, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=2.0, size=240)).astype("float32")
x_train, y_train = x[:64], y[:64]
x_val, y_val = x[64:], y[64:]


def build():
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse")
    return model


model = build()
history = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=4,
    verbose=2,
    validation_data=(x_val, y_val),
)

model.save_weights("last.weights.h5")

model = build()  # as in another process, on another day
model.load_weights("last.weights.h5")
more = model.fit(
    x_train,
    y_train,
    batch_size=8,
    initial_epoch=4,
    epochs=8,
    verbose=2,
    validation_data=(x_val, y_val),
)

print(f"updates the optimizer has counted: {int(model.optimizer.iterations)}, of {8 * 8} in 8 epochs")
