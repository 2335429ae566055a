"""A model is loaded and compiled again with another "accuracy": it is better than the one that was saved.

What the user sees: fit logs a `val_accuracy` near 0.4; the loaded model's `evaluate` on the same rows returns 0.88, and
nothing was trained in between. Follows keras-team/keras#5140 and tensorflow/tensorflow#42459.

Why: fit's "accuracy" counts rows whose largest output is at their label. The one of the loaded model counts cells, and
of each row's eight cells seven are easy.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "loaded-model-differs", "failed": ["loaded-model-differs"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 8)).astype("float32")
y = np.eye(8, dtype="float32")[(x + rng.normal(size=(640, 8))).argmax(1)]
x_train, y_train, x_val, y_val = x[:384], y[:384], x[384:], y[384:]

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, activation="softmax")])
model.compile(keras.optimizers.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=8, verbose=2, validation_data=(x_val, y_val))
model.save("model.keras")

loaded = keras.models.load_model("model.keras", compile=False)
loaded.compile(loss="categorical_crossentropy", metrics=[keras.metrics.BinaryAccuracy(name="accuracy")])
print(f"val_accuracy logged by fit: {history.history['val_accuracy'][-1]:.4f}")
print(f"evaluate of the loaded model: {loaded.evaluate(x_val, y_val, verbose=0)[1]:.4f}")
