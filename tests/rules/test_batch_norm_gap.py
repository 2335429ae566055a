from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks

RULE = "batch-norm-gap"


def run(
    layer: Any, *, rate: float = 0.0, batch: int = 8, epochs: int = 2, validation: bool = True, fits: int = 1
) -> tuple[Any, dict[str, float], dict[str, float], Any]:
    """The diagnosis, what fit logged last, what Keras's own evaluate returns, and the inputs."""
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(loc=5.0, scale=2.0, size=(32, 2)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(rate), "mse")
    extra = {"validation_data": (x, y)} if validation else {}
    for _ in range(fits):
        tracer = Tracer()
        history = model.fit(
            x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0, callbacks=[tracer], **extra
        )
    logged = {name: float(values[-1]) for name, values in history.history.items()}
    evaluated = {k: float(v) for k, v in model.evaluate(x, y, verbose=0, return_dict=True).items()}
    return tracer.diagnose(), logged, evaluated, x


def found(diagnosis: Any, rule: str = RULE) -> Any:
    return next(f for f in diagnosis.findings if f.rule == rule)


def by_hand(x: np.ndarray, batch: int, epochs: int, momentum: float) -> tuple[float, float]:
    """Loss as fit logs it and as evaluate returns it, at rate 0, for kernel 1 and bias 0."""
    y = x.sum(axis=1)
    mean, variance, logged = np.zeros(2), np.ones(2), 0.0
    for _ in range(epochs):
        losses = []
        for start in range(0, len(x), batch):
            part = x[start : start + batch].astype(np.float64)
            out = ((part - part.mean(0)) / np.sqrt(part.var(0) + 1e-3)).sum(axis=1)
            losses.append(np.mean((out - y[start : start + batch]) ** 2))
            mean = momentum * mean + (1 - momentum) * part.mean(0)
            variance = momentum * variance + (1 - momentum) * part.var(0)
        logged = float(np.mean(losses))
    out = ((x - mean) / np.sqrt(variance + 1e-3)).sum(axis=1)
    return logged, float(np.mean((out - y) ** 2))


def test_amount_is_what_a_loop_in_numpy_finds() -> None:
    diagnosis, logged, evaluated, x = run(keras.layers.BatchNormalization(name="norm"))
    fit_loss, evaluate_loss = by_hand(x, 8, 2, 0.99)
    assert logged["loss"] == pytest.approx(fit_loss, rel=1e-4)
    assert evaluated["loss"] == pytest.approx(evaluate_loss, rel=1e-4)
    finding = found(diagnosis)
    assert finding.status == "failed" and finding.metric == "loss"
    assert finding.evidence["logged"] == pytest.approx(fit_loss, rel=1e-4)
    assert finding.evidence["evaluated"] == pytest.approx(evaluate_loss, rel=1e-4)
    assert finding.evidence["layers"] == ["norm"]
    assert blocks(finding.advice)


def test_says_how_much_of_the_averages_is_initial() -> None:
    diagnosis, _, _, _ = run(keras.layers.BatchNormalization(momentum=0.8), epochs=2)
    finding = found(diagnosis)
    assert finding.evidence["updates"] == 8
    assert finding.evidence["initial_share"] == pytest.approx(0.8**8)
    assert "16.8 % their initial values (mean 0, variance 1) after 8 updates with momentum 0.8" in finding.title
    assert "momentum" not in finding.advice.partition("```python")[2]  # short enough as it is
    assert "epochs=16," in finding.advice and 0.8 ** (4 * 16) < 1e-6 < 0.8 ** (4 * 15)
    assert len(blocks(finding.advice)) == 2


def test_says_nothing_about_initial_values_in_a_second_fit() -> None:
    diagnosis, _, _, _ = run(keras.layers.BatchNormalization(), fits=2)
    finding = found(diagnosis)
    assert finding.status == "failed"
    assert finding.evidence["initial_share"] is None and "initial" not in finding.title


def test_one_batch_and_batch_norm_are_both_named() -> None:
    diagnosis, _, _, _ = run(keras.layers.BatchNormalization(), rate=0.05, batch=32, epochs=3, validation=False)
    failed = {f.rule for f in diagnosis.findings if f.status == "failed"}
    assert {RULE, "one-step-epoch"} <= failed


def test_control_averages_that_caught_up() -> None:
    layer = keras.layers.BatchNormalization(momentum=0.1)
    diagnosis, logged, evaluated, _ = run(layer, batch=32, epochs=12)
    assert evaluated["loss"] == pytest.approx(logged["loss"], rel=1e-4)
    assert found(diagnosis).status == "passed"


def test_control_a_frozen_layer_normalizes_alike_in_both() -> None:
    diagnosis, logged, evaluated, _ = run(keras.layers.BatchNormalization(trainable=False))
    assert evaluated["loss"] == pytest.approx(logged["loss"], rel=1e-4)
    assert found(diagnosis).status == "passed"


def test_does_not_apply_to_layer_normalization() -> None:
    assert found(run(keras.layers.LayerNormalization())[0]).status == "not-applicable"
