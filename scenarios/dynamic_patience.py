"""A stopping rule of one's own on `loss`, with patience that grows: it puts back a model that lacks its best value.

What the user sees: the callback reports the best training loss and puts those weights back; `evaluate` on the same rows
gives another, higher value. Dynamic patience is a common recipe: wait the longer, the later the best epoch was.

Why: as with `EarlyStopping(monitor="loss")`, the loss of an epoch is an average over batches, each scored with other
weights. What the callback keeps at the end of the epoch is none of these models.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "no-owner",
    "shows": "moving-average-of-weights",
    "failed": ["moving-average-of-weights"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(512, 4)).astype("float32")
y = (15 + x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=5.8, size=512)).astype("float32")


class DynamicPatience(keras.callbacks.Callback):
    """Waits `patience` epochs, or a fraction of the best epoch, whichever is more."""

    def __init__(self, patience=2, fraction=0.4):
        super().__init__()
        self.patience, self.fraction = patience, fraction

    def on_train_begin(self, logs=None):
        self.best, self.best_epoch, self.best_weights = np.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        current = logs.get("loss")
        if current < self.best:
            self.best, self.best_epoch, self.best_weights = current, epoch, self.model.get_weights()
        elif epoch - self.best_epoch >= max(self.patience, self.fraction * self.best_epoch):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.best_weights)


model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.0005, momentum=0.99), loss="mse")

stopping = DynamicPatience()
history = model.fit(x, y, batch_size=32, epochs=50, verbose=0, callbacks=[stopping])

print(f"stopped after {len(history.history['loss'])} epochs; best logged loss {stopping.best:.4f}")
print(f"evaluate with the weights put back: {model.evaluate(x, y, verbose=0):.4f}")
