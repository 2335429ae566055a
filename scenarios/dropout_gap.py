"""Dropout: the training loss stays far above the validation loss, and above evaluate on the training rows.

What the user sees: `loss` is well above `val_loss` in every epoch, as if the model did better on rows that it has
never seen. `evaluate` on the training rows returns much less than fit logged for them. A question of the Keras FAQ
("Why is my training loss much higher than my testing loss?").

Why: fit scores the model with half of its units switched off, `evaluate` with all of them.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "dropout-gap",
    "failed": ["dropout-gap"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(768, 10)).astype("float32")
y = (x @ np.linspace(-1.0, 1.0, 10) + rng.normal(scale=1.0, size=768)).astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]

model = keras.Sequential(
    [
        keras.Input((10,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.005), loss="mse")

history = model.fit(x_train, y_train, batch_size=64, epochs=12, verbose=2, validation_data=(x_val, y_val))

print(f"loss logged by fit: {history.history['loss'][-1]:.4f}, val_loss: {history.history['val_loss'][-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
