"""Control: training resumed by `BackupAndRestore`, which brings the optimizer's state back with the weights.

What the user sees: a first run of four epochs, and a second that goes on with the fifth as if nothing had happened.

Nobody reported this one: the callback makes the optimizer's variables before it loads the file.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "optimizer-not-restored", "failed": []}

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
    callbacks=[keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False)],
)

model = build()  # as in another process, on another day
more = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=8,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False)],
)

print(f"updates the optimizer has counted: {int(model.optimizer.iterations)}, of {8 * 8} in 8 epochs")
