"""Control: the learning rate is set by hand before training goes on from the restored best epoch.

What the user sees: `resume_plateau_rate` with one line more; the second `fit` trains at the
rate that was asked for.

Nobody reported this one.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "optimizer-not-restored", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(240, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=4.0, size=240)).astype("float32")
x_train, y_train = x[:64], y[:64]
x_val, y_val = x[64:], y[64:]

model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.04), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=30,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2),
        keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True, verbose=1),
    ],
)

print(f"loss of the restored weights: {model.evaluate(x_train, y_train, verbose=0):.4f}")
model.optimizer.learning_rate = 0.02
more = model.fit(
    x_train,
    y_train,
    batch_size=8,
    epochs=4,
    verbose=2,
    validation_data=(x_val, y_val),
)

print(f"learning rate: {float(model.optimizer.learning_rate):.4g}")
