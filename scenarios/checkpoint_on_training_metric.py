"""`ModelCheckpoint(monitor="loss")`: the file of the best epoch does not give the loss it was kept for.

What the user sees: the weights of the epoch with the lowest logged loss are in the file; loaded again, `evaluate` on
the very same rows returns something clearly higher. Reported in tensorflow/similarity#282 (0.4411 logged, 0.4858 from
the file).

Why: the logged loss averages the epoch's 16 batches, each scored before its own update; the file holds the weights
after the last of them. The heavy momentum carries the weights through the minimum in the middle of the best epoch.
Validation data are there, but nothing goes by them.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "checkpoint-on-training-metric",
    "failed": ["checkpoint-on-training-metric", "moving-average-of-weights"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 4)).astype("float32")
y = (15 + x @ [2.0, -1.5, 1.0, 0.5] + rng.normal(scale=3.0, size=640)).astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1, kernel_initializer="zeros"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.0005, momentum=0.99), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=12,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.ModelCheckpoint(
            "best.weights.h5", monitor="loss", save_best_only=True, save_weights_only=True, verbose=1
        )
    ],
)

losses = history.history["loss"]
best = int(np.argmin(losses))
print(f"best logged loss: {losses[best]:.4f} (epoch {best + 1})")
model.load_weights("best.weights.h5")
print(f"evaluate with the weights in the file: {model.evaluate(x_train, y_train, verbose=0):.4f}")
