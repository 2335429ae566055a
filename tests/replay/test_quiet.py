"""What a model warns of while it is replayed, it has warned of in the fit: an analysis is silent."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from diagnose import Tracer


class Warns(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        warnings.warn("of all things", UserWarning, stacklevel=2)
        return x


def test_an_analysis_passes_on_no_warning_of_the_model(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), Warns(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    tracer = Tracer(tmp_path / "fit.diag")
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    with warnings.catch_warnings(record=True) as in_fit:
        warnings.simplefilter("always")
        model.fit(x, y, epochs=1, verbose=0, callbacks=[tracer])
    assert any("of all things" in str(w.message) for w in in_fit)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        diagnosis = tracer.diagnose()
    assert not [w for w in found if "of all things" in str(w.message)]
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 1
