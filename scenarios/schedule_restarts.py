"""A second fit counts its epochs from 1 again, and the schedule puts the learning rate back up.

What the user sees: training goes on with a second `fit`, and the loss, which had settled, jumps in its first epoch.
Reported as tensorflow/tensorflow#49208 and keras-team/keras#1872.

Why: `LearningRateScheduler` gives its function the epoch's number of this `fit`. Without `initial_epoch` that is 0
again, and so is the rate that of the very first epoch.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "schedule-restarts",
    "failed": ["schedule-restarts"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 8)).astype("float32")
y = (x @ np.linspace(-1.0, 1.0, 8) > 0).astype("int32")

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 * 0.5**epoch)
validation = (x[192:], y[192:])

settings = {"validation_data": validation, "batch_size": 32, "verbose": 2, "callbacks": [schedule]}
model.fit(x[:192], y[:192], epochs=6, **settings)
again = model.fit(x[:192], y[:192], epochs=3, **settings)
print(f"learning rate in the first epoch of the second fit: {again.history['learning_rate'][0]:.4f}")
