"""Control: one batch per epoch, but the restore rests on `val_loss`, and all is well.

What the user sees: more inputs than the few training rows can pin down, so the training loss falls all the way while
the validation loss turns in the middle. Training stops, the best epoch comes back, and `evaluate` on the validation
rows returns exactly the `val_loss` logged for that epoch.

Nobody reported this one: it is the nearest healthy neighbour of `single_batch`. Validation runs after the epoch's
update, with the weights that the callback then keeps, so the one-update shift of the training loss decides nothing
here.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "one-step-epoch",
    "failed": [],
    "owner_minus_restored": [0],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(3 + seed)
x = rng.normal(size=(240, 20)).astype("float32")
y = (x @ rng.normal(scale=0.3, size=20) + rng.normal(scale=1.5, size=240)).astype("float32")
x_train, y_train = x[:40], y[:40]
x_val, y_val = x[40:], y[40:]

model = keras.Sequential(
    [
        keras.Input((20,)),
        keras.layers.Dense(1, kernel_initializer="zeros"),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.05), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=len(x_train),
    epochs=60,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True, verbose=1)],
)

losses = history.history["val_loss"]
best = int(np.argmin(losses))
print(f"best logged val_loss: {losses[best]:.4f} (epoch {best + 1})")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0):.4f}")
