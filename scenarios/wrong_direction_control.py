"""Control: with `mode="max"`, training goes on while `val_accuracy` rises, and the best epoch is restored.

What the user sees: training stops three epochs after the highest `val_accuracy`, and the model has that accuracy.

The same run as `wrong_direction`, but for the mode.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "wrong-direction",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(512, 4)).astype("float32")
y = (x @ [2.0, -1.5, 1.0, 0.5] + 0.5 * rng.normal(size=512) > 0).astype("float32")
x_train, y_train = x[:256], y[:256]
x_val, y_val = x[256:], y[256:]

model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(1, activation="sigmoid", kernel_initializer=keras.initializers.Constant(-0.5)),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=20,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[
        keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=3, restore_best_weights=True)
    ],
)

accuracies = history.history["val_accuracy"]
print(f"highest val_accuracy: {max(accuracies):.4f} (epoch {int(np.argmax(accuracies)) + 1} of {len(accuracies)})")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0)[1]:.4f}")
