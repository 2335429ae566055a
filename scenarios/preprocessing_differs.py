"""Rows scaled for fit and not for evaluate: the accuracy of a model that learned well is near chance.

What the user sees: `val_accuracy` is high in every epoch. After fit, `evaluate` on the very same validation rows
returns far less, and `predict` gives nonsense. Reported as keras-team/keras#15813 and in many questions.

Why: fit was given inputs of mean 0 and spread 1, `evaluate` the inputs as they came.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "preprocessing-differs",
    "failed": ["preprocessing-differs"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
plain = rng.normal(size=(640, 8))
y = (plain @ np.linspace(-1.0, 1.0, 8) > 0).astype("int32")
x = (plain * np.linspace(0.5, 20.0, 8) + np.linspace(40.0, -10.0, 8)).astype("float32")
x_train, y_train = x[:384], y[:384]
x_val, y_val = x[384:], y[384:]
mean, std = x_train.mean(axis=0), x_train.std(axis=0)

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.SGD(0.05), loss="sparse_categorical_crossentropy", metrics=["accuracy"])

history = model.fit(
    (x_train - mean) / std,
    y_train,
    batch_size=32,
    epochs=8,
    verbose=2,
    validation_data=((x_val - mean) / std, y_val),
)

print(f"val_accuracy logged by fit: {history.history['val_accuracy'][-1]:.4f}")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0)[1]:.4f}")
