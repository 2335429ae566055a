"""Control: the same rows, shuffled before `validation_split` takes the last ones, and all is well.

What the user sees: `accuracy` and `val_accuracy` climb together.

Nobody reported this one: it is the nearest healthy neighbour of `split_tail`. One line puts the rows into a random
order, so the last fifth is like the rest. Labels of a random split are never spread exactly alike, and a small data
set shows that: the rule must not take this for a sorted one.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "split-tail",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
y = rng.permutation(np.repeat(np.arange(5), 40))
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
