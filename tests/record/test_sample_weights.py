"""Sample weights for several outputs, in whatever shape, are recorded and replayed as fit was given them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.replay.fits import rows


@pytest.mark.parametrize("shape", [(12,), (12, 1)], ids=str)
def test_of_several_outputs(shape: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(3)
    x, y = rows(12)
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("one", "two")}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), {"one": "mse", "two": "mae"})
    weights = {"one": np.linspace(0.5, 2, 12).reshape(shape), "two": np.linspace(3, 0, 12).reshape(shape)}
    start = {name: [np.array(w) for w in model.get_layer(name).get_weights()] for name in outputs}
    tracer = Tracer()
    history: Any = model.fit(
        x, {"one": y, "two": y}, sample_weight=weights, batch_size=12, epochs=1, verbose=0, callbacks=[tracer]
    ).history
    plain = 0.0
    for name, error in (("one", np.square), ("two", np.abs)):
        kernel, bias = start[name]
        plain += float(np.mean(error(x @ kernel + bias - y)[:, 0] * weights[name].reshape(-1)))
    assert history["loss"][0] == pytest.approx(plain, rel=1e-5), "as Keras weighs them"
    replay = tracer.diagnose().replay
    assert replay is not None and (replay.steps, replay.reproduced) == (1, 1)
    assert replay.max_abs_error["loss"] < 1e-6
