"""Many batches per epoch, restore on `loss`: the logged best belongs to no single set of weights.

What the user sees: `EarlyStopping(monitor="loss")` restores the epoch with the lowest logged loss, and `evaluate` on
the same rows returns something clearly higher: neither that epoch's logged loss nor the next one's. Another epoch's
weights would have given less. Fit and evaluate that differ in this way were reported in keras#503, keras#605 and
keras#6977.

Why: each epoch's loss is an average over 16 batches, each scored before its own update, under other weights than the
batch before it. It is not off by one epoch, nor by one update: no version of the weights owns it. The heavy momentum
carries the weights through the minimum in the middle of the best epoch, so that epoch's average is low and its end is
not.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "no-owner",
    "shows": "moving-average-of-weights",
    "failed": ["moving-average-of-weights"],
    "owner_minus_restored": [],
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
    callbacks=[keras.callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True, verbose=1)],
)

losses = history.history["loss"]
best = int(np.argmin(losses))
print(f"best logged loss: {losses[best]:.4f} (epoch {best + 1})")
print(f"evaluate after the restore: {model.evaluate(x, y, verbose=0):.4f}")
