"""Control: a callback evaluates in the middle of every epoch, and puts the sums of `fit` back afterwards.

What the user sees: the validation loss in between, and a log that is the same as without the callback.

The same run as `evaluate_inside_epoch`, but the state of the metrics is kept before `evaluate` and assigned again after
it.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "evaluate-inside-epoch",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(912, 8)).astype("float32")
y = x @ rng.normal(size=8)
y[:512] += rng.normal(size=512)
y = y.astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]


class LookInBetween(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 9:
            kept = [keras.ops.convert_to_numpy(v) for v in self.model.metrics_variables]
            loss = self.model.evaluate(x_val, y_val, verbose=0)
            for variable, value in zip(self.model.metrics_variables, kept, strict=True):
                variable.assign(value)
            print(f"after batch {batch + 1}: validation loss {loss:.4f}")


model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.02), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=4,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[LookInBetween()],
)

print(f"logged loss of the last epoch: {history.history['loss'][-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
