"""Control: the images are rotated once, before fit, and the model has no random layer: fit and evaluate agree.

What the user sees: an accuracy that is about the same in the log of fit, in `val_accuracy` and from `evaluate`.

The same layer with the same range as in `augmentation_gap`, but it made the data: what fit scores is what `evaluate` is
given. That is harder for the model; it makes no gap.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "augmentation-gap",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
steps = np.linspace(-1.0, 1.0, 12)
x = rng.normal(scale=0.8, size=(384, 12, 12, 1)).astype("float32")
y = rng.integers(0, 2, size=384).astype("float32")
x[y == 1] += np.outer(steps, np.ones(12))[..., None]  # one class gets brighter downwards, the other to the right
x[y == 0] += np.outer(np.ones(12), steps)[..., None]
x_train, y_train = x[:256], y[:256]
x_val, y_val = x[256:], y[256:]

rotate = keras.layers.RandomRotation(0.2, seed=seed)
x_train = keras.ops.convert_to_numpy(rotate(x_train, training=True))
x_val = keras.ops.convert_to_numpy(rotate(x_val, training=True))

model = keras.Sequential(
    [
        keras.Input((12, 12, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(x_train, y_train, batch_size=32, epochs=10, verbose=2, validation_data=(x_val, y_val))

print(f"accuracy logged by fit: {history.history['accuracy'][-1]:.4f}")
loss, accuracy = model.evaluate(x_train, y_train, verbose=0)
print(f"evaluate on the same rows: loss {loss:.4f}, accuracy {accuracy:.4f}")
