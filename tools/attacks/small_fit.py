"""Run as a script: traces one small, eventful fit into FOLDER/fit.diag, diagnosed, and saves its weights beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(folder: Path) -> None:
    import keras
    import numpy as np

    from diagnose import Tracer

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="relu", name="first"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    chance = np.random.default_rng(0)
    x = chance.normal(size=(10, 4)).astype("float32")
    y = (x.sum(1) > 0).astype("float32")
    tracer = Tracer(folder / "fit.diag")
    model.fit(
        x, y, batch_size=4, epochs=3, verbose=0, validation_data=(x[:4], y[:4]), class_weight={0: 1.0, 1: 2.0},
        callbacks=[
            keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True, mode="max"),
            keras.callbacks.ModelCheckpoint(folder / "best.weights.h5", "val_loss", save_best_only=True,
                                            save_weights_only=True),
            keras.callbacks.ReduceLROnPlateau("val_accuracy", patience=1),
            tracer,
        ],
    )  # fmt: skip
    tracer.diagnose()
    model.save_weights(folder / "end.weights.h5")
    model.save(folder / "end.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
