"""Control: the layer is frozen, and the model compiled again before the next fit: its moving averages stay.

What the user sees: after the second fit, the frozen batch normalization of the backbone is what it was before.

The same run as `frozen_after_compile` with the one line that matters: `compile` after `trainable` was changed.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "frozen-after-compile",
    "failed": ["batch-norm-gap", "optimizer-not-restored"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(loc=2.0, scale=3.0, size=(512, 6)).astype("float32")
y = (x[:, 0] * x[:, 1] > 4).astype("float32")
x_new = rng.normal(loc=-1.0, scale=2.0, size=(512, 6)).astype("float32")
y_new = (x_new[:, 0] + x_new[:, 2] > -2).astype("float32")

backbone = keras.Sequential(
    [
        keras.Input((6,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9),
    ],
    name="backbone",
)
model = keras.Sequential([keras.Input((6,)), backbone, keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=64, epochs=4, verbose=2, validation_data=(x, y))

backbone.layers[-1].trainable = False
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])

before = [keras.ops.convert_to_numpy(v) for v in backbone.layers[-1].variables]
model.fit(x_new, y_new, batch_size=64, epochs=4, verbose=2, validation_data=(x_new, y_new))

after = [keras.ops.convert_to_numpy(v) for v in backbone.layers[-1].variables]
moved = max(float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True))
print(f"backbone's batch normalization: trainable={backbone.layers[-1].trainable}, moved by up to {moved:.4f}")
