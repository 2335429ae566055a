"""Two splits with two seeds: most validation rows are training rows, and `val_accuracy` of pure noise is high.

What the user sees: labels that are coin flips, and yet a `val_accuracy` of 0.8 and more, that early stopping goes by.
On new rows the same model is no better than a coin. Reported for `image_dataset_from_directory` called twice with
`validation_split` and other seeds (BatteryDEV/AutoECM#13; the question of keras#5862).

Why: each call draws its own split. What the first calls training and the second calls validation have most rows in
common, and nothing says so.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "shows": "trained-on-validation", "failed": ["trained-on-validation"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 20)).astype("float32")
y = rng.integers(0, 2, size=200).astype("float32")
x_new, y_new = x[160:], y[160:]


def subset(name, split_seed):
    """One part of a split of the first 160 rows, as a directory loader draws it."""
    order = np.random.default_rng(split_seed).permutation(160)
    rows = order[40:] if name == "training" else order[:40]
    return x[rows], y[rows]


x_train, y_train = subset("training", seed + 1)
validation = subset("validation", seed + 2)

model = keras.Sequential(
    [
        keras.Input((20,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])

best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=4, restore_best_weights=True)
history = model.fit(x_train, y_train, batch_size=20, epochs=12, validation_data=validation, callbacks=[best], verbose=2)

print(f"val_accuracy after the last epoch: {history.history['val_accuracy'][-1]:.3f}")
print(f"accuracy on rows kept out of it all: {model.evaluate(x_new, y_new, verbose=0)[1]:.3f}")
