"""Control: the rate is lowered after two epochs without improvement, and training goes on at the lower rate.

What the user sees: the learning rate is reduced, once or several times, and the validation loss falls again.

The same run as `patience_conflict`, but for `patience=2` in `ReduceLROnPlateau`.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "patience-conflict",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 4)).astype("float32")
y = (x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=2.0, size=256)).astype("float32")
x_train, y_train = x[:192], y[:192]
x_val, y_val = x[192:], y[192:]

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.3), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=30,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=2, verbose=1),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
    ],
)

rates = history.history["learning_rate"]
print(f"learning rates of the {len(rates)} epochs: {sorted({round(rate, 6) for rate in rates}, reverse=True)}")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0):.4f}")
