"""Control: test images that were rescaled as those of fit were.

What the user sees: `evaluate` on the test rows returns about what fit logged for its validation rows.

The model of `inputs_on_another_scale`, with `/ 255` in all three places.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "inputs-on-another-scale",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
images = rng.integers(0, 256, size=(480, 4, 4, 1)).astype("float32")
y = (images[:, :2].mean(axis=(1, 2, 3)) > images[:, 2:].mean(axis=(1, 2, 3))).astype("int32")
x_train, y_train = images[:256] / 255, y[:256]
x_val, y_val = images[256:352] / 255, y[256:352]
x_test, y_test = images[352:] / 255, y[352:]

model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=5, verbose=2, validation_data=(x_val, y_val))

print(f"val_loss logged by fit: {history.history['val_loss'][-1]:.4f}")
print(f"loss on the test rows: {model.evaluate(x_test, y_test, verbose=0)[0]:.4f}")
