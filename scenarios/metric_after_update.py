"""A train step of one's own reports an accuracy better than its loss: the metric is updated after the weights.

What the user sees: with a hand-written `train_step`, the logged accuracy and the logged loss do not belong together. In
a run of one batch per epoch it is plain: the accuracy logged for an epoch is what `evaluate` returns after it, the loss
is what `evaluate` returned before it. Reported for a loop of one's own in tf#28338.

Why: the step computes the loss, applies the gradients, and then runs the model once more to update the metrics. The
loss is that of the weights before the update, the metrics those of the weights after it: two clocks in one log.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

EXPECTED = {
    "verdict": None,
    "shows": "metric-after-update",
    "failed": ["metric-after-update"],
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
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        y_pred = self(x, training=True)
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
