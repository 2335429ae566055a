"""A rule of one's own on an exponentially smoothed `loss`, one batch per epoch: what it puts back is one update late.

What the user sees: the loss jumps, so the callback smooths it and keeps the weights of the epoch in which the smoothed
value was best. `evaluate` with these weights does not give the loss that was logged for that epoch.

Why: with one batch per epoch, an epoch's loss is that of the weights before its only update, and the callback keeps
those after it. Smoothing delays the choice; it does not change which weights a value belongs to.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "shifted",
    "shows": "one-step-epoch",
    "failed": ["one-step-epoch"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 3)).astype("float32")
y = (3 + x @ [4.0, -3.0, 2.0] + rng.normal(scale=0.5, size=200)).astype("float32")


class SmoothedStopping(keras.callbacks.Callback):
    """Goes by an exponential moving average of the loss."""

    def __init__(self, alpha=0.5, patience=2):
        super().__init__()
        self.alpha, self.patience = alpha, patience

    def on_train_begin(self, logs=None):
        self.smoothed, self.best, self.wait = None, np.inf, 0

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["loss"]
        self.smoothed = loss if self.smoothed is None else self.alpha * loss + (1 - self.alpha) * self.smoothed
        if self.smoothed < self.best:
            self.best, self.wait, self.weights, self.logged = self.smoothed, 0, self.model.get_weights(), loss
        else:
            self.wait += 1
            if self.wait >= self.patience:
                self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model.set_weights(self.weights)


model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.25, momentum=0.9), loss="mse")

stopping = SmoothedStopping()
model.fit(x, y, batch_size=len(x), epochs=40, verbose=0, callbacks=[stopping])

print(f"loss logged for the epoch that was kept: {stopping.logged:.4f}")
print(f"evaluate with the weights put back:      {model.evaluate(x, y, batch_size=len(x), verbose=0):.4f}")
