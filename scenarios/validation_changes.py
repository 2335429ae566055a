"""Validation data that is drawn anew in each epoch: `val_loss` jumps about, and early stopping keeps the luckiest draw.

What the user sees: a `val_loss` that goes up and down by more than training moves it, and a best epoch that is no
better than others on a fixed set. Reported for generators that shuffle or augment validation data
(keras#5862 among others).

Why: the validation generator takes other rows each time it is read. What changes from epoch to epoch is the sample,
too.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "shows": "validation-changes", "failed": ["validation-changes"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")


class Validation(keras.utils.PyDataset):
    """Two batches of twenty of the last hundred rows."""

    def __init__(self):
        super().__init__()
        self.draw = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = self.rows[20 * index : 20 * index + 20]
        return x[rows], y[rows]

    def on_epoch_end(self):
        self.rows = 100 + self.draw.permutation(100)[:40]


model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="binary_crossentropy", metrics=["accuracy"])
stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=20, restore_best_weights=True)
history = model.fit(
    x[:100], y[:100], batch_size=20, epochs=8, validation_data=Validation(), callbacks=[stopping], verbose=2
)
print(f"val_loss {np.round(history.history['val_loss'], 3).tolist()}")
