"""A rule of one's own that keeps the best weighted sum of two validation metrics: it holds the model it means.

What the user sees: accuracy and loss on the validation rows are added up with weights, the best epoch is kept, and the
model that is put back has exactly the two values that were logged for it.

Why: both values come from the validation pass at the end of the epoch, computed with the very weights that the callback
then keeps. That it is a rule of one's own makes no difference; which values it reads does.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "control_of": "moving-average-of-weights", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(480, 6)).astype("float32")
y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=480) > 0).astype("float32")
x_train, y_train, x_val, y_val = x[:160], y[:160], x[160:], y[160:]


class KeepBestWeighted(keras.callbacks.Callback):
    """Keeps the weights with the highest sum of weighted validation metrics; stops after `patience` epochs without."""

    def __init__(self, weights, patience=4):
        super().__init__()
        self.weights, self.patience = weights, patience

    def on_train_begin(self, logs=None):
        self.best, self.wait, self.best_weights = -np.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        score = self.weights[0] * logs["val_accuracy"] - self.weights[1] * logs["val_loss"]
        if score > self.best:
            self.best, self.wait, self.best_weights = score, 0, self.model.get_weights()
            self.values = logs["val_accuracy"], logs["val_loss"]
        else:
            self.wait += 1
            self.model.stop_training = self.wait >= self.patience

    def on_train_end(self, logs=None):
        self.model.set_weights(self.best_weights)


model = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
)
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy"])

keeper = KeepBestWeighted(weights=(0.7, 0.3))
model.fit(x_train, y_train, batch_size=32, epochs=60, verbose=0, validation_data=(x_val, y_val), callbacks=[keeper])

print(f"kept: val_accuracy {keeper.values[0]:.4f}, val_loss {keeper.values[1]:.4f}")
loss, accuracy = model.evaluate(x_val, y_val, verbose=0)
print(f"evaluate with the weights put back: accuracy {accuracy:.4f}, loss {loss:.4f}")
