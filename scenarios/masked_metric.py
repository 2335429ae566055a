"""On padded sequences `loss="mse"` and `metrics=["mse"]` differ, without any regularizer.

What the user sees: a model that predicts a value for each step of sequences of different length, padded with zeros
and masked. Loss and metric are the same function, nothing is regularized, and still `loss` and `mse` differ in every
epoch, and `evaluate` returns two numbers as well, which get closer with larger batches. Reported in tf#34158.

Why: the loss is each batch's mean over its real steps, and each batch then counts by its number of rows. The metric is
the mean over all real steps of the epoch. The rows come sorted by length, so a batch of short sequences, with few real
steps, weighs as much in the loss as one with many. On JAX (Keras 3.15.1) the metric in `fit` does not get to see the
mask at all and counts the padding, too; in `evaluate` it does.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "masked-metric", "failed": ["batch-averaged-metric", "masked-metric"]}

SHORTEST = 1

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

STEPS = 12
rng = np.random.default_rng(seed)


def sequences(rows):
    length = np.linspace(SHORTEST, STEPS, rows).round().astype(int)
    real = np.arange(STEPS) < length[:, None]
    x = (rng.integers(1, 20, size=(rows, STEPS)) * real).astype("int32")
    noise = rng.normal(scale=0.2, size=(rows, STEPS)) * length[:, None]
    return x, ((0.1 * x + noise) * real).astype("float32")[..., None]


train, val = sequences(96), sequences(48)

model = keras.Sequential(
    [
        keras.Input((STEPS,), dtype="int32"),
        keras.layers.Embedding(20, 4, mask_zero=True),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mse"])

history = model.fit(*train, batch_size=16, epochs=5, shuffle=False, verbose=2, validation_data=val)

print(f"last epoch: loss {history.history['loss'][-1]:.4f}, mse {history.history['mse'][-1]:.4f}")
for size in (16, 96):
    loss, mse = model.evaluate(*train, batch_size=size, verbose=0)
    print(f"evaluate in batches of {size}: loss {loss:.4f}, mse {mse:.4f}")
