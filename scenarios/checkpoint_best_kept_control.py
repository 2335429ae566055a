"""Control: each fold has a `ModelCheckpoint` of its own, and the file gives that fold's best `val_loss`.

What the user sees: the file, loaded after each fold, gives the best `val_loss` of that fold.

The same run as `checkpoint_best_kept`, but the callback is made inside the loop.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "checkpoint-best-kept",
    "failed": [],
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


for fold in range(2):
    model = build_model()
    checkpoint = keras.callbacks.ModelCheckpoint(
        "best.weights.h5", monitor="val_loss", save_best_only=True, save_weights_only=True, verbose=1
    )
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
