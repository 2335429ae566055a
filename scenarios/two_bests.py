"""EarlyStopping on `val_loss`, ModelCheckpoint on `val_accuracy`: the model in memory is not the one in the file.

What the user sees: the numbers of the model after fit and of `best.keras` differ, both are called the best, and the
last line of the log describes neither. Reported in ml4h#364.

Why: the loss turns early, as the model gets more and more confident about rows whose label is wrong, while the accuracy
goes on rising. Each callback keeps the best epoch of its own metric.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "shows": "two-bests", "failed": ["two-bests"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(720, 10)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")
x_train, y_train = x[:120], y[:120]
x_val, y_val = x[120:], np.where(rng.random(600) < 0.15, 1 - y[120:], y[120:])  # some labels are wrong

model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(0.5), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x_train,
    y_train,
    batch_size=30,
    epochs=20,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping("val_loss", patience=20, restore_best_weights=True, verbose=1),
        keras.callbacks.ModelCheckpoint("best.keras", monitor="val_accuracy", save_best_only=True),
    ],
)

restored = model.evaluate(x_val, y_val, verbose=0)
saved = keras.saving.load_model("best.keras").evaluate(x_val, y_val, verbose=0)
print(f"restored model: loss {restored[0]:.4f}, accuracy {restored[1]:.4f}")
print(f"saved model:    loss {saved[0]:.4f}, accuracy {saved[1]:.4f}")
