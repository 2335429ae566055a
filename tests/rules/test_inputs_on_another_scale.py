from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import blocks

RULE = "inputs-on-another-scale"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(120, 3, 3)).astype("float32")
TABLE = (RNG.normal(size=(120, 4)) * [1.0, 20.0, 300.0, 5.0] + [0.0, 50.0, -100.0, 9.0]).astype("float32")
KEPT = 80


def run(every: np.ndarray, prepared: Callable[[Any], Any], tested: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """The finding of a fit on the first rows, prepared, and an evaluate of the others; the model and these rows."""
    keras.utils.set_random_seed(1)
    flat = every.reshape(len(every), -1)
    y = (flat[:, 0] > np.median(flat[:, 0])).astype("int64")
    model = keras.Sequential([keras.Input(every.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    with diagnose.trace() as session:
        model.fit(prepared(every[:KEPT]), y[:KEPT], batch_size=20, epochs=4, verbose=0)
        model.evaluate(tested(every[KEPT:]), y[KEPT:], verbose=0)
        (found,) = session.diagnose()
    return next(f for f in found.findings if f.rule == RULE), model, y[KEPT:]


@pytest.mark.parametrize("prepared", [lambda x: x / 255, lambda x: x / 127.5 - 1])
def test_images_that_were_not_rescaled(prepared: Callable[[Any], Any]) -> None:
    finding, model, y = run(IMAGES, prepared, lambda x: x)
    there, undone = (model.evaluate(x, y, verbose=0) for x in (IMAGES[KEPT:], prepared(IMAGES[KEPT:])))
    assert finding.status == "failed"
    assert (finding.evidence["value"], finding.evidence["undone"]) == pytest.approx((there, undone), rel=1e-4)
    scope: dict[str, Any] = {"x_test": IMAGES[KEPT:], "y_test": y, "model": model}
    exec(blocks(finding.advice)[0].split("model.evaluate")[0], scope)
    assert model.evaluate(scope["x_test"], y, verbose=0) == pytest.approx(undone, rel=1e-3), "the advice cures it"


def test_a_table_that_was_not_standardized() -> None:
    mean, std = TABLE[:KEPT].mean(0), TABLE[:KEPT].std(0)
    finding, model, y = run(TABLE, lambda x: (x - mean) / std, lambda x: x)
    right = model.evaluate((TABLE[KEPT:] - mean) / std, y, verbose=0)
    assert finding.status == "failed" and "column" in finding.title
    assert abs(finding.evidence["undone"] - right) < 0.2 * abs(finding.evidence["value"] - right)
    scope: dict[str, Any] = {"x_train": TABLE[:KEPT], "x_test": TABLE[KEPT:], "y_test": y, "model": model}
    exec(blocks(finding.advice)[0], scope)
    assert model.evaluate(scope["x_test"], y, verbose=0) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("tested", [lambda x: x / 255, lambda x: x / 100])
def test_control_inputs_of_about_fits_range(tested: Callable[[Any], Any]) -> None:
    assert run(IMAGES, lambda x: x / 255, tested)[0].status == "not-applicable"
