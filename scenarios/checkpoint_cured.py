"""Control: the checkpoint watches the loss evaluated again, and the weights in the file give it.

What the user sees: `eval_loss` beside `loss` in the log, and `evaluate` with the weights in the file returns the best
`eval_loss`.

The same run as `checkpoint_on_training_metric`, but for one more callback: `ReevaluatedMetrics`, before the others,
adds what `evaluate` returns for the training rows with the model as it is at the end of the epoch.
"""

import sys

import keras
import numpy as np

from diagnose.callbacks import ReevaluatedMetrics

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
        ReevaluatedMetrics(x_train, y_train),
        keras.callbacks.ModelCheckpoint(
            "best.weights.h5", monitor="eval_loss", save_best_only=True, save_weights_only=True, verbose=1
        ),
    ],
)

losses = history.history["eval_loss"]
best = int(np.argmin(losses))
print(f"best re-evaluated loss: {losses[best]:.4f} (epoch {best + 1})")
model.load_weights("best.weights.h5")
print(f"evaluate with the weights in the file: {model.evaluate(x_train, y_train, verbose=0):.4f}")
