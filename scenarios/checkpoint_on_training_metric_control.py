"""Control: the checkpoint watches `val_loss`, and the weights in the file give it.

What the user sees: the weights of the epoch with the lowest `val_loss` are in the file; loaded again, `evaluate` on the
validation rows returns exactly what was logged.

The same run as `checkpoint_on_training_metric`, but for the monitor. Validation runs after the epoch's last update,
with the weights that the callback then saves.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "checkpoint-on-training-metric",
    "failed": [],
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
            "best.weights.h5", monitor="val_loss", save_best_only=True, save_weights_only=True, verbose=1
        )
    ],
)

losses = history.history["val_loss"]
best = int(np.argmin(losses))
print(f"best logged val_loss: {losses[best]:.4f} (epoch {best + 1})")
model.load_weights("best.weights.h5")
print(f"evaluate with the weights in the file: {model.evaluate(x_val, y_val, verbose=0):.4f}")
