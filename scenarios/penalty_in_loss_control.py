"""Control: the same regularizer, but so weak that `loss` and `mse` are the same number for all who read them.

What the user sees: `loss` and `mse` agree to four digits in every epoch, and so do the two numbers `evaluate` returns.

Why: the penalties are part of `loss` here too, but they are a hundred-thousandth of it.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "penalty-in-loss", "failed": []}

L2 = 1e-6

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(360, 5)).astype("float32")
y = (x @ [1.0, -2.0, 0.5, 1.5, -1.0] + np.sin(2 * x[:, 0]) + rng.normal(scale=0.5, size=360)).astype("float32")
x_train, y_train, x_val, y_val = x[:240], y[:240], x[240:], y[240:]

model = keras.Sequential(
    [
        keras.Input((5,)),
        keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(L2)),
        keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(L2)),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mse"])

history = model.fit(x_train, y_train, batch_size=24, epochs=8, verbose=2, validation_data=(x_val, y_val))

print(f"last epoch: loss {history.history['loss'][-1]:.4f}, mse {history.history['mse'][-1]:.4f}")
loss, mse = model.evaluate(x_train, y_train, verbose=0)
print(f"evaluate:   loss {loss:.4f}, mse {mse:.4f}")
