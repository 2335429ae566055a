"""Class weights: the loss that `fit` logs is far above what `evaluate` returns, and above `val_loss`.

What the user sees: one row in ten is of the rare class, so it gets nine times the weight. `fit` then logs a loss that
is far above the `val_loss` beside it, although the validation rows come from the same source, and `evaluate` on the
very rows that were trained on returns the small number too. It looks as if the model did better on data it has not
seen. Reported in keras#5616; keras PR#8591 was to change it.

Why: `class_weight` multiplies each row's loss in `fit`. Neither `evaluate` nor the validation pass gets it: there
every row counts once.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "class-weights", "failed": ["class-weights"]}

RARE = 0.1

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)


def rows(n):
    y = (np.arange(n) < n * RARE).astype("int32")
    return rng.normal(size=(n, 6)).astype("float32") + 0.7 * y[:, None].astype("float32"), y


x_train, y_train = rows(500)
x_val, y_val = rows(300)
zeros, ones = np.bincount(y_train)
class_weight = {0: 1.0, 1: float(zeros / ones)}

model = keras.Sequential(
    [
        keras.Input((6,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x_train,
    y_train,
    batch_size=25,
    epochs=10,
    verbose=2,
    validation_data=(x_val, y_val),
    class_weight=class_weight,
)

print(f"class weights: {class_weight}")
print(f"loss logged for the last epoch: {history.history['loss'][-1]:.4f}")
print(f"evaluate on the same rows: {model.evaluate(x_train, y_train, verbose=0)[0]:.4f}")
