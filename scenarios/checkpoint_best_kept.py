"""Cross-validation with one `ModelCheckpoint` object: the second fold saves nothing, the file is the first fold's.

What the user sees: "val_loss did not improve" in each epoch of the second fold, although its loss falls; loaded after
that fold, the file does not give the fold's best `val_loss`. Reported in keras#2768.

Why: the callback keeps `best` between fits, in Keras 3.8, 3.12 and 3.15.1 alike. The second fold's rows are noisier, so
that none of its epochs comes near the first fold's best.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "checkpoint-best-kept",
    "failed": ["checkpoint-best-kept"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(2, 96, 4)).astype("float32")
noise = np.array([[0.5], [3.0]]) * rng.normal(size=(2, 96))
y = (x @ [2.0, -1.5, 1.0, 0.5] + noise).astype("float32")


def build_model():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.05), loss="mse")
    return model


checkpoint = keras.callbacks.ModelCheckpoint(
    "best.weights.h5", monitor="val_loss", save_best_only=True, save_weights_only=True, verbose=1
)

for fold in range(2):
    model = build_model()
    history = model.fit(
        x[fold, :64],
        y[fold, :64],
        batch_size=16,
        epochs=8,
        verbose=2,
        validation_data=(x[fold, 64:], y[fold, 64:]),
        callbacks=[checkpoint],
    )
    losses = history.history["val_loss"]
    print(f"fold {fold + 1}: best val_loss {min(losses):.4f}")
    model.load_weights("best.weights.h5")
    print(f"fold {fold + 1}: evaluate from the file {model.evaluate(x[fold, 64:], y[fold, 64:], verbose=0):.4f}")
