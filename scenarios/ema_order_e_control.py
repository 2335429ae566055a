"""Control: `SwapEMAWeights(swap_on_epoch=True)` and no early stop: `evaluate` returns the last `val_loss`.

What the user sees: the training of `ema_order_e` to its planned end, and no gap.

Nobody reported this one: in the last planned epoch the callback hands the average to the optimizer, which puts it into
the model.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "ema-order", "failed": []}

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
    epochs=12,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
)

print(f"last logged val_loss: {history.history['val_loss'][-1]:.4f}")
print(f"evaluate after fit: {model.evaluate(x_val, y_val, verbose=0):.4f}")
