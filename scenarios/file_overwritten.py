"""Two phases of training, one file: the second phase's checkpoint writes a worse model over the best of the first.

What the user sees: a best `val_loss` in the first phase, and a `best.keras` that does not have it. Asked in many forms
for fine-tuning in phases and for folds that share a file name.

Why: a new ModelCheckpoint knows no best, so it saves its first epoch in any case, over what an earlier one has kept.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "file-overwritten", "failed": ["file-overwritten"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")

model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
for phase, (rate, epochs) in enumerate([(0.5, 12), (300.0, 2)], start=1):
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="binary_crossentropy")
    best = keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True)
    history = model.fit(
        x[:160], y[:160], batch_size=20, epochs=epochs, validation_data=(x[160:], y[160:]), callbacks=[best], verbose=2
    )
    print(f"phase {phase}: best val_loss {min(history.history['val_loss']):.4f}")

model.load_weights("best.keras")
print(f"best.keras: val_loss {model.evaluate(x[160:], y[160:], verbose=0):.4f}")
