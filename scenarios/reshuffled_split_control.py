"""Control: the same `take` and `skip` after a `shuffle` that does not reshuffle, and `val_accuracy` tells the truth.

What the user sees: labels that are pure chance, a training accuracy that climbs, and a `val_accuracy` that stays near
one half, like the accuracy on rows kept out of it all.

Nobody reported this one: it is the nearest healthy neighbour of `reshuffled_split`. With
`reshuffle_each_iteration=False` the order is random but fixed, so the split is the same in every epoch.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

EXPECTED = {
    "verdict": None,
    "control_of": "reshuffled-split",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 20)).astype("float32")
y = rng.integers(0, 2, size=200).astype("float32")
x_new, y_new = x[160:], y[160:]

dataset = tf.data.Dataset.from_tensor_slices((x[:160], y[:160])).shuffle(160, reshuffle_each_iteration=False)
validation = dataset.take(40).batch(20)
training = dataset.skip(40).batch(20)

model = keras.Sequential(
    [
        keras.Input((20,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.01),
    loss="binary_crossentropy",
    metrics=["accuracy"],
)

history = model.fit(training, epochs=20, validation_data=validation, verbose=2)

print(f"val_accuracy after the last epoch: {history.history['val_accuracy'][-1]:.3f}")
print(f"accuracy on rows kept out of it all: {model.evaluate(x_new, y_new, verbose=0)[1]:.3f}")
