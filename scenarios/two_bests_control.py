"""Control: EarlyStopping and ModelCheckpoint both go by `val_loss`, and keep the same epoch.

What the user sees: `two_bests` with one word changed; the model after fit and the saved one give the same numbers.

Nobody reported this one.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "control_of": "two-bests", "failed": []}

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
        keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True),
    ],
)

restored = model.evaluate(x_val, y_val, verbose=0)
saved = keras.saving.load_model("best.keras").evaluate(x_val, y_val, verbose=0)
print(f"restored model: loss {restored[0]:.4f}, accuracy {restored[1]:.4f}")
print(f"saved model:    loss {saved[0]:.4f}, accuracy {saved[1]:.4f}")
