"""A stateful RNN is evaluated right after fit: evaluate begins in the state that the last batch of fit left behind.

What the user sees: `evaluate` on the training rows returns a far higher loss than fit logged, and another one each
time it is called, although the weights do not change. Reported in keras#2849.

Why: the states of a `stateful` layer go from batch to batch, and from fit into `evaluate`. A callback sets them to
zero when an epoch begins, but nothing does so before `evaluate`, which goes on from the end of the walks. (On JAX,
Keras 3.15 does not carry the states out of a compiled step: there is nothing to see there.)
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "state-carried",
    "failed": ["state-carried"],
    "other_backends": {"jax": ["moving-average-of-weights"]},
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
# 16 walks of 20 steps, cut into 4 pieces that follow each other: batch after batch, each row goes on with its walk.
moves = rng.normal(loc=0.3, scale=1.0, size=(16, 20, 1)).astype("float32")
x = np.concatenate(np.split(moves, 4, axis=1))
y = 2.0 * np.concatenate(np.split(moves.cumsum(axis=1)[:, 4::5, 0], 4, axis=1)) + rng.normal(scale=0.5, size=(64, 1))


class ResetStates(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()


model = keras.Sequential(
    [
        keras.Input(batch_shape=(16, 5, 1)),
        keras.layers.SimpleRNN(
            1, activation="linear", kernel_initializer="ones", recurrent_initializer="identity", stateful=True
        ),
        keras.layers.Dense(1, kernel_initializer="ones"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")

history = model.fit(x, y, batch_size=16, epochs=20, shuffle=False, verbose=2, callbacks=[ResetStates()])

print(f"loss logged by fit: {history.history['loss'][-1]:.4f}")
print(f"evaluate on the same rows: {model.evaluate(x, y, batch_size=16, verbose=0):.4f}")
print(f"evaluate once more:        {model.evaluate(x, y, batch_size=16, verbose=0):.4f}")
