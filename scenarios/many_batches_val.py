"""Control: many batches per epoch, but the restore rests on `val_loss`, and all is well.

What the user sees: a small classifier with more inputs than its few training rows can pin down. The training loss
keeps falling, the validation loss turns in the middle, training stops, the best epoch comes back, and `evaluate` on
the validation rows returns the `val_loss` logged for that epoch.

Nobody reported this one: it is the nearest healthy neighbour of `many_batches_loss`. The logged training values are
averages over many weights versions here too, but nothing rests on them: validation ran with one version, the one that
was kept.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": "aligned",
    "control_of": "moving-average-of-weights",
    "failed": [],
    "owner_minus_restored": [0],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(5 + seed)
x = rng.normal(size=(328, 20)).astype("float32")
y = (x @ rng.normal(scale=0.5, size=20) + rng.normal(scale=1.5, size=328) > 0).astype("float32")
x_train, y_train = x[:128], y[:128]
x_val, y_val = x[128:], y[128:]

model = keras.Sequential(
    [
        keras.Input((20,)),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(
    x_train,
    y_train,
    batch_size=16,
    epochs=60,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True, verbose=1)],
)

losses = history.history["val_loss"]
best = int(np.argmin(losses))
print(f"best logged val_loss: {losses[best]:.4f} (epoch {best + 1})")
loss, accuracy = model.evaluate(x_val, y_val, verbose=0)
print(f"evaluate on the validation rows: loss {loss:.4f}, accuracy {accuracy:.4f}")
