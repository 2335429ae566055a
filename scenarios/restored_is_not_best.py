"""`min_delta`: EarlyStopping restores epoch 1 or so, although every later epoch logged a better `val_loss`.

What the user sees: `min_delta` was set to stop when progress gets slow. Training stops, the message says that the best
epoch was restored, and the restored model is worse than the four epochs that came after it. Reported in tf#45187.

Why: an epoch counts as better only when it beats the best one by more than `min_delta`, and only an epoch that counts
is kept. Several small improvements in a row add up to much, and none of them is kept.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "shifted", "shows": "restored-is-not-best", "failed": ["restored-is-not-best"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=1.0, size=640)).astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]

model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.0005), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=30,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", min_delta=1.5, patience=4, restore_best_weights=True, verbose=1)
    ],
)

values = history.history["val_loss"]
best = int(np.argmin(values))
print(f"best logged val_loss: {values[best]:.4f} (epoch {best + 1})")
print(f"evaluate after fit: {model.evaluate(x_val, y_val, verbose=0):.4f}")
