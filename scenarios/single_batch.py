"""One batch per epoch: the restored model gives the loss of the epoch after the best one.

What the user sees: training stops, Keras says "Restoring model weights from the end of the best epoch: 6.", and
`evaluate` on the very same rows returns not the loss logged for epoch 6, but the higher one logged for epoch 7.
Reported in keras#20323 (33.2164 logged, 38.8818 after the restore); the same clock is behind keras#8578 and tf#29964.

Why: the loss of a train step is computed before its update. With one batch per epoch, the loss filed under epoch 7 is
exactly that of the weights at the end of epoch 6, and the loss filed under epoch 6 that of the end of epoch 5. The
large step with momentum makes the loss overshoot, so that one update is worth several units of loss.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "shifted",
    "shows": "one-step-epoch",
    "failed": ["one-step-epoch"],
    "shift_updates": 1,
    # The owner's version minus the restored version, one entry per owner.
    "owner_minus_restored": [-1],
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
    callbacks=[keras.callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True, verbose=1)],
)

losses = history.history["loss"]
best = int(np.argmin(losses))
print(f"best logged loss: {losses[best]:.4f} (epoch {best + 1})")
print(f"evaluate after the restore: {model.evaluate(x, y, verbose=0):.4f}")
