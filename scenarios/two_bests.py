"""EarlyStopping on `val_loss`, ModelCheckpoint on `val_accuracy`: the model in memory is not the one in the file.

What the user sees: the numbers of the model after fit and of `best.keras` differ, both are called the best, and the
last line of the log describes neither. Reported in ml4h#364.

Why: the loss turns early, as a few validation rows get more and more wrong with confidence, while the accuracy goes on
rising. Each callback keeps the best epoch of its own metric.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "shows": "two-bests", "failed": ["two-bests"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(1040, 12)).astype("float32")
y = (x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + 0.6 * rng.normal(size=1040) > 0).astype("float32")
x_train, y_train = x[:240], y[:240]
x_val, y_val = x[240:], y[240:]

model = keras.Sequential(
    [
        keras.Input((12,)),
        keras.layers.Dense(48, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x_train,
    y_train,
    batch_size=40,
    epochs=20,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=15, restore_best_weights=True, verbose=1),
        keras.callbacks.ModelCheckpoint("best.keras", monitor="val_accuracy", save_best_only=True),
    ],
)

restored = model.evaluate(x_val, y_val, verbose=0)
saved = keras.saving.load_model("best.keras").evaluate(x_val, y_val, verbose=0)
print(f"restored model: loss {restored[0]:.4f}, accuracy {restored[1]:.4f}")
print(f"saved model:    loss {saved[0]:.4f}, accuracy {saved[1]:.4f}")
