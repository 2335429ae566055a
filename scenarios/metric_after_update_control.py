"""A train step of one's own that keeps the predictions of its one forward pass: loss and accuracy belong together.

The control of `metric_after_update`: the same step, but the metrics get the predictions that the loss was computed
from, those of the weights before the update. The log is as Keras's own train step would have it.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

EXPECTED = {
    "verdict": None,
    "control_of": "metric-after-update",
    "failed": [],
    "backends": ["tensorflow"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 8)).astype("float32")
y = (x @ rng.normal(size=8) + 2 * rng.normal(size=256) > 0).astype("float32").reshape(-1, 1)


class Classifier(keras.Sequential):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(x)[0])
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


model = Classifier([keras.Input((8,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.SGD(3.0), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(x, y, batch_size=64, epochs=3, validation_data=(x, y), verbose=0).history
for epoch, (loss, accuracy) in enumerate(zip(history["loss"], history["accuracy"], strict=True), start=1):
    print(f"epoch {epoch}: logged loss {loss:.4f}, accuracy {accuracy:.4f}")
loss, accuracy = model.evaluate(x, y, verbose=0)
print(f"evaluate: loss {loss:.4f}, accuracy {accuracy:.4f}")
