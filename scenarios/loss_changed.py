"""The loss is another function in each epoch: a callback raises the weight of one of its terms.

What the user sees: `val_loss` is smallest in one of the first epochs, where the weight of the penalty is still small.
`EarlyStopping` restores that epoch, although the predictions got better for many epochs after it; and `evaluate`, which
uses the last weight, gives a loss far above the best one that was logged.
Reported as keras-team/keras#13826 and #2595 (KL annealing, loss weights changed during training).

Why: the weight is a variable outside the model. Losses of different epochs are not of one scale, so the smallest one
says nothing of the model.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "shows": "loss-changed",
    "failed": ["loss-changed"],
    "reproduces": False,
    # JAX compiles the weight into the step as a constant.
    "backends": ["tensorflow", "torch"],
}

RAISE = True

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(300, 6)).astype("float32")
y = (x @ rng.normal(size=(6, 2)) * 0.5 + 1.5).astype("float32")

weight = keras.Variable(0.0 if RAISE else 0.2, trainable=False, dtype="float32", name="penalty_weight")


def loss(y_true, y_pred):
    fit = keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)
    return fit + weight * keras.ops.mean(keras.ops.square(y_pred), axis=-1)


class Anneal(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        weight.assign(min(1.0, epoch / 4) if RAISE else 0.2)


model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)])
model.compile(optimizer=keras.optimizers.Adam(0.02), loss=loss, metrics=["mse"])

stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=4, restore_best_weights=True)
history = model.fit(
    x[:200],
    y[:200],
    validation_data=(x[200:], y[200:]),
    batch_size=25,
    epochs=12,
    verbose=2,
    callbacks=[Anneal(), stopping],
)

best = int(np.argmin(history.history["val_loss"]))
print(f"best val_loss {history.history['val_loss'][best]:.4f} in epoch {best + 1}")
print(f"evaluate:     {model.evaluate(x[200:], y[200:], verbose=0)[0]:.4f}")
