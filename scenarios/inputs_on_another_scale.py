"""Test images that were not rescaled as those of fit were: the loss is many times what fit logged.

What the user sees: `val_loss` falls as it should; `evaluate` on a test set that fit never had returns a loss of dozens.
Reported as keras-team/keras#10014, and in many questions.

Why: the images went through `/ 255` on their way to fit, and those of the test set did not.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "inputs-on-another-scale",
    "failed": ["inputs-on-another-scale"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
images = rng.integers(0, 256, size=(480, 4, 4, 1)).astype("float32")
y = (images[:, :2].mean(axis=(1, 2, 3)) > images[:, 2:].mean(axis=(1, 2, 3))).astype("int32")
x_train, y_train = images[:256] / 255, y[:256]
x_val, y_val = images[256:352] / 255, y[256:352]
x_test, y_test = images[352:], y[352:]

model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=5, verbose=2, validation_data=(x_val, y_val))

print(f"val_loss logged by fit: {history.history['val_loss'][-1]:.4f}")
print(f"loss on the test rows: {model.evaluate(x_test, y_test, verbose=0)[0]:.4f}")
