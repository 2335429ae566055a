"""`ReduceLROnPlateau` beside `EarlyStopping(patience=5)`: training stops before the rate is ever lowered.

What the user sees: `learning_rate` is the same in every line of the log, although the validation loss no longer falls,
and training then stops. The fine steps that were meant to follow never come. Reported in yolov3-tf2#181.

Why: `ReduceLROnPlateau` waits for 10 epochs unless it is told otherwise, `EarlyStopping` here for 5. Both count the
same epochs without improvement. The rate is far too high for batches of 32 noisy rows.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "shows": "patience-conflict",
    "failed": ["patience-conflict"],
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
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, verbose=1),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
    ],
)

rates = history.history["learning_rate"]
print(f"learning rates of the {len(rates)} epochs: {sorted({round(rate, 6) for rate in rates}, reverse=True)}")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0):.4f}")
