"""`EarlyStopping` and `ModelCheckpoint` watch `val_loss`, `fit` has no validation data: nothing is stopped or chosen.

What the user sees: two warnings among the progress bars; training runs to its last epoch, and the "best" file has the
weights of that last epoch. Reported in tf#33163.

Why: `val_loss` is in no log. `EarlyStopping` then does nothing, and `ModelCheckpoint` saves after every epoch in Keras
3.12 and 3.15.1, and never in 3.8.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "not-restored",
    "shows": "missing-monitor",
    "failed": ["missing-monitor"],
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
