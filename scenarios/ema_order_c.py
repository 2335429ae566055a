"""`SwapEMAWeights()` and a restore: the restored model does not have the best `val_loss`.

What the user sees: validation scores the average (that is what the callback is for), EarlyStopping restores the best
epoch, and `evaluate` returns a clearly higher loss than the `val_loss` it was chosen for. Seen around keras#18949.

Why: the average is in the model during validation only. When EarlyStopping takes its copy at the end of the epoch, the
weights of the last update are back, and those are what it restores.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "replaced", "shows": "ema-order", "failed": ["ema-order"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(240, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=2.0, size=240)).astype("float32")
x_train, y_train = x[:64], y[:64]
x_val, y_val = x[64:], y[64:]

model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.04, use_ema=True, ema_momentum=0.9), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=40,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.SwapEMAWeights(),
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ],
)

values = history.history["val_loss"]
best = int(np.argmin(values))
print(f"best logged val_loss: {values[best]:.4f} (epoch {best + 1})")
print(f"evaluate after fit: {model.evaluate(x_val, y_val, verbose=0):.4f}")
