"""`loss="mse"` and `metrics=["mse"]` log two different numbers for the same rows, in fit and in evaluate.

What the user sees: loss and metric are the same function, and still `loss` is well above `mse` in every epoch, for the
training data and for the validation data, and `evaluate` returns two numbers too. Reported in keras#6518 and
keras#20388.

Why: the layers have an L2 regularizer. Its penalties are part of what is minimised, so Keras adds them to `loss`,
whatever the data; a metric only ever sees labels and predictions.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "penalty-in-loss", "failed": ["penalty-in-loss"]}

L2 = 0.02

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
