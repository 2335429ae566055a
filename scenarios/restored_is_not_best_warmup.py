"""`start_from_epoch`: the best `val_loss` came during the warm-up, and a later, worse epoch is restored.

What the user sees: ten epochs of warm-up were to keep EarlyStopping from stopping too soon. The model overfits within
them, and the restored model is far from the lowest `val_loss` in the log.

Why: before `start_from_epoch` the callback does not look at all: it neither stops nor keeps weights. Its best is the
best of what it saw.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "shifted", "shows": "restored-is-not-best", "failed": ["restored-is-not-best"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(240, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=2.0, size=240)).astype("float32")
x_train, y_train = x[:64], y[:64]
x_val, y_val = x[64:], y[64:]

model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.04), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=40,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", start_from_epoch=10, patience=3, restore_best_weights=True, verbose=1)
    ],
)

values = history.history["val_loss"]
best = int(np.argmin(values))
print(f"best logged val_loss: {values[best]:.4f} (epoch {best + 1})")
print(f"evaluate after fit: {model.evaluate(x_val, y_val, verbose=0):.4f}")
