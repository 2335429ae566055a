"""`SwapEMAWeights(swap_on_epoch=True)` and an early stop: the model after fit is not the average.

What the user sees: training ends early, and `evaluate` returns another loss than the last `val_loss`. The same script
run to its last epoch has no such gap. Nobody seems to have reported it.

Why: at the end of an epoch the callback exchanges weights and average. It readies the optimizer for the end of
training in the last planned epoch only (`epoch == params["epochs"] - 1`); after an early stop the optimizer's
"average" is still the other one, the weights of the last update, and Keras puts these into the model.
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
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.EarlyStopping("val_loss", patience=3),
    ],
)

print(f"last logged val_loss: {history.history['val_loss'][-1]:.4f}")
print(f"evaluate after fit: {model.evaluate(x_val, y_val, verbose=0):.4f}")
