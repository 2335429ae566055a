"""`EarlyStopping` stopped in time, but `evaluate` is worse than the best `val_loss` in the log.

What the user sees: training stops after three epochs without improvement; the model then has the `val_loss` of the last
epoch, not the best one that was printed. Reported in keras#12511 and tf#35634.

Why: `restore_best_weights` is False unless it is given, so the model simply keeps the weights it was stopped with. The
model is far larger than its 48 rows, whose labels are mostly noise, and the validation loss grows soon.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "not-restored",
    "shows": "no-restore",
    "failed": ["no-restore"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(112, 8)).astype("float32")
y = (x[:, 0] + 1.5 * rng.normal(size=112) > 0).astype("float32")
x_train, y_train = x[:48], y[:48]
x_val, y_val = x[48:], y[48:]

model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.02), loss="binary_crossentropy")

history = model.fit(
    x_train,
    y_train,
    batch_size=16,
    epochs=40,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)],
)

losses = history.history["val_loss"]
print(f"best val_loss: {min(losses):.4f} (epoch {int(np.argmin(losses)) + 1} of {len(losses)})")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0):.4f}")
