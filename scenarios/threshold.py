"""A callback stops at a logged accuracy of 1.0, and the model it stops with does not have it.

What the user sees: "Reached an accuracy of 1.0, stopping", and right after it `evaluate` on the same 500 rows returns
less. A common teaching pattern: a `Callback` that sets `stop_training` once `logs["accuracy"]` reaches a threshold.

Why: the logged accuracy is an average over the epoch's four batches, each scored before its update. All batches
passed, each under weights of its own; the last update then moved the decision boundary across some of the points
again.

What else may happen with another seed: the model stops and does have the accuracy, by luck (6 and 7); the relu unit is
dead from the start and nothing is learned (2); or the log stays below 1.0 for all 300 epochs although `evaluate` would
have returned 1.0 after some of them, so training never stops. `Normalization` is never adapted, as in the snippet that
goes around: it does nothing here.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "threshold-on-training-metric",
    "failed": ["moving-average-of-weights", "threshold-on-training-metric", "unadapted-normalization"],
    "other_seeds": {
        2: ["moving-average-of-weights", "unadapted-normalization"],
        6: ["unadapted-normalization"],
        7: ["unadapted-normalization"],
    },
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 9
keras.utils.set_random_seed(seed)

x = np.arange(-20, 30, 0.1).reshape(-1, 1).astype("float32")
y = (x >= 10).astype("float32")


class StopAtAccuracy(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["accuracy"] >= 1.0:
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

history = model.fit(x, y, batch_size=128, epochs=300, verbose=0, callbacks=[StopAtAccuracy()])

accuracies = history.history["accuracy"]
print(f"best logged accuracy: {max(accuracies):.4f} (after {len(accuracies)} epochs)")
loss, accuracy = model.evaluate(x, y, verbose=0)
print(f"evaluate: loss {loss:.4f}, accuracy {accuracy:.4f}")
