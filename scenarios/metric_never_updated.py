"""A train step of one's own returns the loss under the name of a metric that it never updates: fit logs 0.

What the user sees: `loss: 0.0000e+00` in every epoch, while the predictions get better.

Why: `fit` logs the model's metrics where a train step returns just their names, and Keras's own tracker of the loss,
which stands among them, is for the train step to update. In Keras's guides such a step has a tracker of its own.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "metric-never-updated",
    "failed": ["metric-never-updated"],
    "backends": ["tensorflow"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 8)).astype("float32")
y = (x @ rng.normal(size=8) + 0.1 * rng.normal(size=200)).astype("float32").reshape(-1, 1)


class OwnStep(keras.Model):
    def train_step(self, data):
        import tensorflow as tf

        rows, labels = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(rows, training=True) - labels) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}


inputs = keras.Input((8,))
model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
model.compile(optimizer=keras.optimizers.SGD(0.05))
model.fit(x, y, batch_size=40, epochs=4, verbose=2)
print(f"error of the predictions {np.mean((model.predict(x, verbose=0) - y) ** 2):.4f}")
