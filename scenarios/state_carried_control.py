"""Control: the states of the stateful RNN are set to zero when an epoch ends, so evaluate begins where it should.

What the user sees: `evaluate` right after fit agrees with the log.

The same run as `state_carried`, but the callback acts in `on_epoch_end`: the next epoch and `evaluate` both begin
with a zero state.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "state-carried",
    "failed": ["moving-average-of-weights"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
# 16 walks of 20 steps, cut into 4 pieces that follow each other: batch after batch, each row goes on with its walk.
moves = rng.normal(loc=0.3, scale=1.0, size=(16, 20, 1)).astype("float32")
x = np.concatenate(np.split(moves, 4, axis=1))
y = 2.0 * np.concatenate(np.split(moves.cumsum(axis=1)[:, 4::5, 0], 4, axis=1)) + rng.normal(scale=0.5, size=(64, 1))


class ResetStates(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
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
