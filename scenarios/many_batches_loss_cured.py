"""Control: the loss is evaluated again at the end of each epoch, and the epoch best by that is restored.

What the user sees: a warning that no weights have the loss logged for an epoch, `eval_loss` beside `loss` in the log,
and `evaluate` after the restore returns the best `eval_loss`.

The same run as `many_batches_loss`, but for the callback: `OwnedEarlyStopping` has the rows, and goes by a value that
belongs to the weights it keeps.
"""

import sys

import keras
import numpy as np

from diagnose.callbacks import OwnedEarlyStopping

EXPECTED = {
    "verdict": "aligned",
    "control_of": "moving-average-of-weights",
    "failed": [],
    "owner_minus_restored": [0],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(512, 4)).astype("float32")
y = (15 + x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=5.8, size=512)).astype("float32")

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1, kernel_initializer="zeros"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.0005, momentum=0.99), loss="mse")

history = model.fit(
    x,
    y,
    batch_size=32,
    epochs=50,
    verbose=2,
    callbacks=[OwnedEarlyStopping(monitor="loss", patience=2, verbose=1, x=x, y=y)],
)

losses = history.history["eval_loss"]
best = int(np.argmin(losses))
print(f"best re-evaluated loss: {losses[best]:.4f} (epoch {best + 1})")
print(f"loss logged for that epoch: {history.history['loss'][best]:.4f}")
print(f"evaluate after the restore: {model.evaluate(x, y, verbose=0):.4f}")
