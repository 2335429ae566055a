"""`take` and `skip` after `shuffle` draw a new split every epoch: noise is "learned", and `val_accuracy` is fine.

What the user sees: labels that are pure chance, and yet `val_accuracy` climbs as high as the training accuracy. On
rows kept out of it all, the same model is no better than a coin. Reported in tf#59279.

Why: `shuffle` reshuffles each time the dataset is read, and `take` and `skip` come after it. So training and
validation each draw new rows in every epoch, and soon the model was trained on all of them.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

EXPECTED = {
    "verdict": None,
    "shows": "reshuffled-split",
    "failed": ["reshuffled-split"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 20)).astype("float32")
y = rng.integers(0, 2, size=200).astype("float32")
x_new, y_new = x[160:], y[160:]

dataset = tf.data.Dataset.from_tensor_slices((x[:160], y[:160])).shuffle(160)
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
