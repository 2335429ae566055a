"""Control: with validation data `val_loss` is in the logs; training is stopped by it and the file is the best epoch's.

What the user sees: training ends where the validation loss no longer improves, and the model has the best one.

The same run as `missing_monitor` with `validation_data` given to `fit`.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "missing-monitor",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 4)).astype("float32")
y = (x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=2.0, size=256)).astype("float32")
x_train, y_train = x[:192], y[:192]
x_test, y_test = x[192:], y[192:]

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.01), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=10,
    verbose=2,
    validation_data=(x_test, y_test),
    callbacks=[
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(
            "best.weights.h5", monitor="val_loss", save_best_only=True, save_weights_only=True
        ),
    ],
)

print(f"names in the logs: {list(history.history)}")
print(f"epochs: {len(history.history['loss'])}")
print(f"evaluate on the test rows: {model.evaluate(x_test, y_test, verbose=0):.4f}")
