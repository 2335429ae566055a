"""Control: the same train step with a tracker of its own, which it updates: each epoch's loss is its mean.

What the user sees: a loss that falls.

Nobody reported this one: it is the nearest healthy neighbour of `metric_never_updated`, as Keras's guides have it.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "metric-never-updated", "failed": [], "backends": ["tensorflow"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 8)).astype("float32")
y = (x @ rng.normal(size=8) + 0.1 * rng.normal(size=200)).astype("float32").reshape(-1, 1)


class OwnStep(keras.Model):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, data):
        import tensorflow as tf

        rows, labels = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(rows, training=True) - labels) ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


inputs = keras.Input((8,))
model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
model.compile(optimizer=keras.optimizers.SGD(0.05))
model.fit(x, y, batch_size=40, epochs=4, verbose=2)
print(f"error of the predictions {np.mean((model.predict(x, verbose=0) - y) ** 2):.4f}")
