"""Control: all of the weights are loaded, into a model that was built the same: evaluate gives what fit logged.

What the user sees: `evaluate` of the loaded model returns the `val_accuracy` of the last epoch.

The model of `loaded_model_differs`, loaded into one of the same widths.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "loaded-model-differs",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 8)).astype("float32")
y = (np.abs(x[:, 0]) > 0.7).astype("int32")
x_train, y_train = x[:384], y[:384]
x_val, y_val = x[384:], y[384:]


def build(width):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


model = build(16)
history = model.fit(x_train, y_train, batch_size=32, epochs=12, verbose=2, validation_data=(x_val, y_val))
model.save_weights("model.weights.h5")

loaded = build(16)
loaded.load_weights("model.weights.h5")
print(f"val_accuracy logged by fit: {history.history['val_accuracy'][-1]:.4f}")
print(f"evaluate of the loaded model: {loaded.evaluate(x_val, y_val, verbose=0)[1]:.4f}")
