"""Control: the weights that are kept are those the loss was computed with, so `evaluate` gives it.

What the user sees: the best logged loss, and `evaluate` on the very same rows returns it.

The same run as `single_batch`, but for the callback. With one batch per epoch, the loss logged for an epoch belongs to
the weights before its only update; `OwnedEarlyStopping` keeps these, not those after it.
"""

import sys

import keras
import numpy as np

from diagnose.callbacks import OwnedEarlyStopping

EXPECTED = {
    "verdict": "aligned",
    "control_of": "one-step-epoch",
    "failed": [],
    "shift_updates": 0,
    # The owner's version minus the restored version, one entry per owner.
    "owner_minus_restored": [0],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(506, 4)).astype("float32")
y = (15 + x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=5.8, size=506)).astype("float32")

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1, kernel_initializer="zeros"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.055, momentum=0.8), loss="mse")

history = model.fit(
    x,
    y,
    batch_size=len(x),
    epochs=50,
    verbose=2,
    callbacks=[OwnedEarlyStopping(monitor="loss", patience=2, verbose=1)],
)

losses = history.history["loss"]
best = int(np.argmin(losses))
print(f"best logged loss: {losses[best]:.4f} (epoch {best + 1})")
print(f"evaluate after the restore: {model.evaluate(x, y, verbose=0):.4f}")
