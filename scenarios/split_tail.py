"""`validation_split` takes the last rows, and they are all of one class: `val_accuracy` stays at 0.

What the user sees: training accuracy climbs to 1.0, and `val_accuracy` is 0.0 in every epoch, as if the model were
overfitting from the first step. Rows sorted by class, as many data sets come, are enough; the Keras documentation
says that the split is made "before shuffling".

Why: `validation_split=0.2` takes the last fifth of the rows as they lie. The rows are sorted by class, so the last
class is in validation alone: the model is asked about a class that it was never shown.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "split-tail",
    "failed": ["split-tail"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
y = np.repeat(np.arange(5), 40)
centers = np.array([[3, 0], [1, 3], [-2, 2], [-2, -2], [1, -3]])
x = (centers[y] + 0.5 * rng.normal(size=(200, 2))).astype("float32")

model = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(5, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.02),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

history = model.fit(x, y, batch_size=16, epochs=10, validation_split=0.2, verbose=2)

print(f"accuracy after the last epoch: {history.history['accuracy'][-1]:.3f}")
print(f"val_accuracy after the last epoch: {history.history['val_accuracy'][-1]:.3f}")
print("classes of the last rows:", sorted(set(y[160:].tolist())))
