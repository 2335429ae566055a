"""`categorical_accuracy` on one sigmoid unit: 1.0 from the first epoch, although a fifth of the predictions are wrong.

What the user sees: `categorical_accuracy` and `val_categorical_accuracy` are 1.0 in every epoch, from the untrained
model on, while the loss is far from 0. Counting by hand gives about 0.8. Reported in tf#41958.

Why: categorical accuracy asks on which of several units the prediction is largest, and where the label's 1 is. With
one unit and one column of labels, both answers are always the first.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "metric-mismatch",
    "failed": ["metric-mismatch"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(320, 3)).astype("float32")
y = (x[:, :1] - x[:, 1:2] + rng.normal(scale=1.2, size=(320, 1)) > 0).astype("int32")
x_val, y_val = x[256:], y[256:]
x, y = x[:256], y[:256]

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.05),
    loss="binary_crossentropy",
    metrics=["categorical_accuracy"],
)

history = model.fit(x, y, batch_size=32, epochs=8, validation_data=(x_val, y_val), verbose=2)

by_hand = np.mean((model.predict(x_val, verbose=0) > 0.5) == y_val)
for name, values in sorted(history.history.items()):
    print(f"{name}: {values[-1]:.3f}")
print(f"validation predictions that are right, counted by hand: {by_hand:.3f}")
