"""Control: a second fit that is told where training goes on; the schedule goes on with it.

What the user sees: the rate of the second `fit` goes on from where the first had it.

The model of `schedule_restarts`, with `initial_epoch`.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "schedule-restarts",
    "failed": [],
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
again = model.fit(x[:192], y[:192], initial_epoch=6, epochs=9, **settings)
print(f"learning rate in the first epoch of the second fit: {again.history['learning_rate'][0]:.4f}")
