from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import blocks

RULE = "preprocessing-differs"
ROWS, VAL = 40, 24


def rows(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).uniform(0, 1, size=(count, 3, 3, 2)).astype("float32")
    return x, (x[:, 0, 0, 0] > 0.5).astype("int64")


def run(calls: Callable[[Any, Any, Any], Any]) -> tuple[Any, Any, Any]:
    """The finding, the call it may be about, and what fit logged last for its validation."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3, 3, 2)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = rows(0, ROWS)
    val_x, val_y = rows(1, VAL)
    with diagnose.trace() as session:
        fit = model.fit(x, y, batch_size=8, epochs=4, verbose=0, validation_data=(val_x, val_y))
        got = calls(model, (x, y), (val_x, val_y))
        (found,) = session.diagnose()
    finding = next(f for f in found.findings if f.rule == RULE)
    return finding, (found.calls[-1] if found.calls else None, got), fit.history


def test_a_scale_that_evaluate_lacks_is_named_and_undone() -> None:
    finding, (call, got), history = run(lambda m, t, v: m.evaluate(v[0] * 255 - 128, v[1], verbose=0))
    assert finding.status == "failed" and finding.metric == call.metric
    assert finding.evidence["map"] == "scaled" and call.rows.of == "validation"
    assert call.rows.scale == pytest.approx(1 / 255, rel=1e-4)
    undone = history[f"val_{call.metric}"][-1]
    returned = got[["loss", "accuracy"].index(call.metric)]
    assert finding.evidence["amount"] == pytest.approx(returned - undone, rel=1e-5, abs=1e-6)
    assert finding.effect == abs(finding.evidence["amount"]) and blocks(finding.advice)
    assert "scaled otherwise" in finding.title


def test_channels_in_another_order_over_the_training_rows() -> None:
    """Fit shuffles its rows; their order is that of the arrays it was given."""
    finding, (call, got), _ = run(
        lambda m, t, v: (m.evaluate(*t, verbose=0), m.evaluate(t[0][..., ::-1], t[1], verbose=0))
    )
    assert finding.status == "failed" and finding.evidence["map"] == "channels-reversed"
    assert call.rows.of == "training" and call.rows.count == ROWS
    assert finding.evidence["amount"] == pytest.approx(got[1][1] - got[0][1], abs=1e-6)


def test_predictions_are_told_by_their_inputs_alone() -> None:
    finding, (call, got), history = run(lambda m, t, v: m.predict(v[0].transpose(0, 2, 1, 3), verbose=0))
    own = float((got.argmax(1) == rows(1, VAL)[1]).mean())
    assert call.rows.map == "transposed" and call.replayed["accuracy"] == pytest.approx(own)
    assert finding.evidence["amount"] == pytest.approx(own - history["val_accuracy"][-1], abs=1e-6)


def test_control_the_same_inputs() -> None:
    assert run(lambda m, t, v: (m.evaluate(*t, verbose=0), m.evaluate(*v, verbose=0)))[0].status == "passed"


@pytest.mark.parametrize(
    "calls",
    [lambda m, t, v: None, lambda m, t, v: m.evaluate(*rows(7, 20), verbose=0)],
    ids=["no call", "other rows"],
)
def test_without_such_a_call_it_does_not_apply(calls: Any) -> None:
    assert run(calls)[0].status == "not-applicable"
