"""Control: the whole model of the best epoch is loaded before training goes on, its optimizer with it.

What the user sees: `optimizer_not_restored`, with the second `fit` on what ModelCheckpoint saved; weights and optimizer
are of one moment.

Nobody reported this one: a `.keras` file holds both.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "optimizer-not-restored", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 4)).astype("float32")
y = (15 + x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=3.0, size=640)).astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.0005, momentum=0.99), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=64,
    epochs=30,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True, verbose=1),
        keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True),
    ],
)

model = keras.saving.load_model("best.keras")
print(f"loss of the restored weights: {model.evaluate(x_train, y_train, verbose=0):.4f}")
more = model.fit(
    x_train,
    y_train,
    batch_size=64,
    epochs=4,
    verbose=2,
    validation_data=(x_val, y_val),
)

best = int(np.argmin(history.history["val_loss"]))
print(f"loss logged for the epoch after them, the first time: {history.history['loss'][best + 1]:.4f}")
print(f"loss logged for the epoch after them, now: {more.history['loss'][0]:.4f}")
