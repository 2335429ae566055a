"""Control: the Normalization layer was adapted to the training rows before fit.

What the user sees: the first row comes out of the layer near 0, and the loss gets down to the noise in the data.

The same run as `unadapted_normalization` with the one line that matters: `normalization.adapt(x_train)`.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "unadapted-normalization",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.uniform(low=[0.0, 900.0], high=[1.0, 1100.0], size=(512, 2)).astype("float32")
y = (3.0 * x[:, 0] + 0.02 * x[:, 1] + rng.normal(scale=0.5, size=512)).astype("float32")
x_train, y_train = x[:384], y[:384]
x_val, y_val = x[384:], y[384:]

normalization = keras.layers.Normalization()
normalization.adapt(x_train)
model = keras.Sequential(
    [
        keras.Input((2,)),
        normalization,
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.05), loss="mse")

history = model.fit(x_train, y_train, batch_size=64, epochs=15, verbose=2, validation_data=(x_val, y_val))

print(f"val_loss of the last epoch: {history.history['val_loss'][-1]:.4f}")
first = keras.ops.convert_to_numpy(normalization(x_train[:1]))[0]
print(f"the first row: {x_train[0]}, normalized: {first}")
