"""Control: padded and masked sequences that are all of one length.

What the user sees: the same model and the same padding, but every sequence has 8 real steps. `loss` and `mse` agree,
in `fit` and in `evaluate`, in batches of any size.

Why: the mask is at work here too, but each batch has as many real steps per row as every other, so it counts the same
by rows and by real steps. On JAX the finding stands: there the metric in `fit` does not get to see the mask (Keras
3.15.1), and counts the padding of these sequences too.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "masked-metric",
    "failed": [],
    "other_backends": {"jax": ["masked-metric"]},
}

SHORTEST = 8

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

STEPS = 12
rng = np.random.default_rng(seed)


def sequences(rows):
    length = np.full(rows, SHORTEST)
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
