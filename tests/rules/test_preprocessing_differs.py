from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import blocks, cures, paste

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


@cures(RULE)
@pytest.mark.parametrize(
    ("made", "line"),
    [
        (lambda x: x * 255 - 128, "0.00392157 * x_val + 0.501961, y_val, batch_size=32)"),
        (lambda x: x / 2, "model.evaluate(2 * x_val, y_val"),
        (lambda x: x[..., ::-1], "np.flip(x_val, axis=-1), y_val"),
        (lambda x: x.transpose(0, 2, 1, 3), "np.swapaxes(x_val, 1, 2), y_val"),
    ],
    ids=["scaled", "halved", "channels", "transposed"],
)
def test_advice_makes_the_call_return_what_fit_logged(made: Any, line: str) -> None:
    """The user's own call, with its inputs as fit had them."""
    models: list[Any] = []
    finding, _, history = run(lambda m, t, v: (models.append(m), m.evaluate(made(v[0]), v[1], verbose=0)))
    assert finding.status == "failed" and line in blocks(finding.advice)[0]
    x, y = rows(1, VAL)
    fill = {"model.evaluate(": "value = model.evaluate(verbose=0, x=", ", y_val": ", y=y_val"}
    value = paste(finding.advice, fill=fill, model=models[0], x_val=made(x), y_val=y)["value"]
    assert value == pytest.approx([history["val_loss"][-1], history["val_accuracy"][-1]], rel=1e-4)


def test_advice_for_columns_that_were_scaled_each_by_itself() -> None:
    """One preparation for fit and evaluate, with what was measured on the training rows."""
    x, y = (np.random.default_rng(3).normal(size=(60, 3)) * [1.0, 9.0, 40.0] + 50.0).astype("float32"), None
    y = (x[:, 2] > 50.0).astype("int64")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    mean, std = x[:40].mean(axis=0), x[:40].std(axis=0)
    with diagnose.trace() as session:
        held = ((x[40:] - mean) / std, y[40:])
        model.fit((x[:40] - mean) / std, y[:40], epochs=6, verbose=0, validation_data=held)
        lost = model.evaluate(x[40:], y[40:], verbose=0)
        (found,) = session.diagnose()
    finding = next(f for f in found.findings if f.rule == RULE)
    assert finding.evidence["map"] == "scaled-by-column" and len(blocks(finding.advice)) == 1
    given = {"x_train": x[:40], "y_train": y[:40], "x_val": x[40:], "y_val": y[40:], "x_test": x[40:], "y_test": y[40:]}
    fill = {"model.evaluate": "value = model.evaluate", "y_train,": "y_train, epochs=1, verbose=0,"}
    scope = paste(finding.advice, fill=fill, model=model, **given)
    logged = scope["model"].history.history
    assert scope["value"] == pytest.approx([logged["val_loss"][-1], logged["val_accuracy"][-1]], rel=1e-4)
    assert scope["value"][0] < lost[0]


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
