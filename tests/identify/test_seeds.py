"""Seeds that move on between two steps leave the weights as the update made them, so the verdict must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer


class MovesSeeds(keras.callbacks.Callback):
    """As TensorFlow does itself when a step finds the end of its data."""

    def __init__(self, seeds: Any) -> None:
        super().__init__()
        self.seeds = seeds

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        state = self.model.layers[0].seed_generator.state
        state.assign(keras.ops.convert_to_numpy(state.value) + np.array([0, self.seeds], "uint32"))


class MovesWeights(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.set_weights([0.95 * w for w in self.model.get_weights()])


@pytest.mark.parametrize("weights", ["auto", "epochs"])
@pytest.mark.parametrize("callback", [lambda: MovesSeeds(0), lambda: MovesSeeds(1), MovesWeights])
def test_only_weights_that_no_update_made_are_foreign(callback: Any, weights: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.4, seed=1), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    tracer = Tracer(tmp_path / "fit.diag", weights=weights)
    added = callback()
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)
    # One step per epoch; the callback comes first, so the stopping keeps what it left behind.
    model.fit(x, x.sum(axis=1, keepdims=True), batch_size=64, epochs=4, verbose=0, callbacks=[added, stopping, tracer])
    restoration = tracer.diagnose().restoration
    assert restoration is not None and restoration.best_epoch is not None and restoration.best_epoch > 1
    if isinstance(added, MovesWeights):
        assert restoration.verdict == "replaced" and restoration.written_by == "MovesWeights"
    else:
        assert restoration.verdict == "shifted"
        assert restoration.owner_versions == (restoration.best_epoch - 1,)
