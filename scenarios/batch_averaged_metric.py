"""An F1 score written as a plain function logs a value that nobody gets from the model's predictions.

What the user sees: `fit` and `evaluate` report an F1 of about one half of what scikit-learn, or the same function,
gives for the same labels and predictions. With another batch size the number is another one, with the same weights.
Reported in keras#4592 and, for a sum, in keras#8421. Keras 2.0 took its own `precision`, `recall` and `fmeasure`
functions out for this reason.

Why: Keras calls a metric function once per batch and averages what it returns over the batches. F1 is no average: a
batch without a positive row scores 0, whatever the model does, and here that is most batches.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "batch-averaged-metric", "failed": ["batch-averaged-metric"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
y = (np.arange(360) < 36).astype("float32")
rng.shuffle(y)
x = rng.normal(size=(360, 4)).astype("float32") + 1.2 * y[:, None]
x_train, y_train, x_val, y_val = x[:240], y[:240], x[240:], y[240:]


def f1(y_true, y_pred):
    y_true = keras.ops.reshape(keras.ops.cast(y_true, "float32"), (-1,))
    y_pred = keras.ops.round(keras.ops.reshape(y_pred, (-1,)))
    hits = keras.ops.sum(y_true * y_pred)
    return 2 * hits / (keras.ops.sum(y_true) + keras.ops.sum(y_pred) + 1e-7)


model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.Adam(0.05), loss="binary_crossentropy", metrics=[f1])

history = model.fit(x_train, y_train, batch_size=8, epochs=5, verbose=2, validation_data=(x_val, y_val))

print(f"f1 logged for the last epoch: {history.history['f1'][-1]:.4f}")
print(f"evaluate in batches of 8: {model.evaluate(x_train, y_train, batch_size=8, verbose=0)[1]:.4f}")
print(f"evaluate in one batch: {model.evaluate(x_train, y_train, batch_size=240, verbose=0)[1]:.4f}")
