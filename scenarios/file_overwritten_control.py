"""Control: each phase has a file of its own, and the best of the first phase is still there.

What the user sees: `phase-1.keras` has the best `val_loss` of the first phase.

Nobody reported this one: it is the nearest healthy neighbour of `file_overwritten`.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "file-overwritten", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")

model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
for phase, (rate, epochs) in enumerate([(0.5, 12), (300.0, 2)], start=1):
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="binary_crossentropy")
    best = keras.callbacks.ModelCheckpoint(f"phase-{phase}.keras", monitor="val_loss", save_best_only=True)
    history = model.fit(
        x[:160], y[:160], batch_size=20, epochs=epochs, validation_data=(x[160:], y[160:]), callbacks=[best], verbose=2
    )
    print(f"phase {phase}: best val_loss {min(history.history['val_loss']):.4f}")

model.load_weights("phase-1.keras")
print(f"phase-1.keras: val_loss {model.evaluate(x[160:], y[160:], verbose=0):.4f}")
