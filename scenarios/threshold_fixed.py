"""Control: the stopping callback watches `val_accuracy` on the training rows, and the model has what it stopped for.

What the user sees: "Reached an accuracy of 1.0, stopping", and `evaluate` on the same 500 rows returns 1.0 too.

The same run as `threshold`, but with `validation_data` set to the training set and the threshold on `val_accuracy`,
which Keras computes after the epoch's last update with the one version of the weights that the model is left with.
The logged training `accuracy` is still an average over moving weights (it may be below 1.0 in the very epoch that
stops), but nothing rests on it. `Normalization` is not adapted here either, which is found in both runs.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "threshold-on-training-metric",
    "failed": ["unadapted-normalization"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 9
keras.utils.set_random_seed(seed)

x = np.arange(-20, 30, 0.1).reshape(-1, 1).astype("float32")
y = (x >= 10).astype("float32")


class StopAtAccuracy(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["val_accuracy"] >= 1.0:
            print("Reached an accuracy of 1.0, stopping")
            self.model.stop_training = True


model = keras.Sequential(
    [
        keras.Input((1,)),
        keras.layers.Normalization(),
        keras.layers.Dense(1, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x,
    y,
    batch_size=128,
    epochs=300,
    verbose=0,
    validation_data=(x, y),
    callbacks=[StopAtAccuracy()],
)

accuracies = history.history["val_accuracy"]
print(f"best logged val_accuracy: {max(accuracies):.4f} (after {len(accuracies)} epochs)")
loss, accuracy = model.evaluate(x, y, verbose=0)
print(f"evaluate: loss {loss:.4f}, accuracy {accuracy:.4f}")
