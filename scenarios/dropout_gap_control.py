"""Control: the training loss is above the validation loss, but there is no dropout: the loss falls in the epochs.

What the user sees: the same picture as in `dropout_gap`, a `loss` above `val_loss` and above what `evaluate` returns
for the training rows.

The same model without its dropout layer, stopped while the loss still falls fast. The logged loss averages batches
that were scored before later updates of the same epoch; validation comes after all of them. Nothing here was decided
by the training loss, so nothing is wrong.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "dropout-gap",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(768, 10)).astype("float32")
y = (x @ np.linspace(-1.0, 1.0, 10) + rng.normal(scale=1.0, size=768)).astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]

model = keras.Sequential(
    [
        keras.Input((10,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.005), loss="mse")

history = model.fit(x_train, y_train, batch_size=64, epochs=2, verbose=2, validation_data=(x_val, y_val))

print(f"loss logged by fit: {history.history['loss'][-1]:.4f}, val_loss: {history.history['val_loss'][-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
