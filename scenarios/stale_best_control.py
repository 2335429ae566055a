"""Control: the same object in both folds, but its `on_train_begin` runs Keras's own reset first.

What the user sees: each fold trains until its own validation loss no longer improves, and its model scores what its log
says.

The same run as `stale_best` with the one line `super().on_train_begin(logs)` more, and a line for the releases (Keras
3.0 to 3.5 and 3.12) that do not reset `best` there.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "stale-best",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(2, 96, 4)).astype("float32")
noise = np.array([[0.5], [3.0]]) * rng.normal(size=(2, 96))
y = (x @ [2.0, -1.5, 1.0, 0.5] + noise).astype("float32")


class Stopping(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.best = None
        print(f"stopping after {self.patience} epochs without a better {self.monitor}")


def build_model():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="mse")
    return model


stopping = Stopping(monitor="val_loss", patience=3, restore_best_weights=True)

for fold in range(2):
    model = build_model()
    history = model.fit(
        x[fold, :64],
        y[fold, :64],
        batch_size=16,
        epochs=20,
        verbose=2,
        validation_data=(x[fold, 64:], y[fold, 64:]),
        callbacks=[stopping],
    )
    losses = history.history["val_loss"]
    print(f"fold {fold + 1}: {len(losses)} epochs, best val_loss {min(losses):.4f}")
    print(f"fold {fold + 1}: evaluate {model.evaluate(x[fold, 64:], y[fold, 64:], verbose=0):.4f}")
