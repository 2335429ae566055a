from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.rules import metric_never_reset
from tests.rules.advice import blocks
from tests.rules.traced import Traced, traced

RULE = metric_never_reset.NAME


class Kept(keras.metrics.MeanAbsoluteError):  # type: ignore[misc]
    def reset_state(self) -> None:
        pass


def fit(metric: Any, epochs: int = 3) -> Traced:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=[metric])
    return traced(model, x, x[:, :1], epochs=epochs, batch_size=8)


def test_fails_for_a_metric_that_keeps_its_sums() -> None:
    run, plain = fit(Kept(name="own")), fit(keras.metrics.MeanAbsoluteError(name="own"))
    finding = run.finding(RULE)
    assert finding.status == "failed" and finding.evidence["metrics"] == ["own"] and finding.evidence["epochs"] == 2
    # The oracle: the mean over all epochs so far of what each epoch is by itself.
    each = plain.history["own"]
    assert run.history["own"] == pytest.approx([np.mean(each[: n + 1]) for n in range(3)], rel=1e-5)


def test_passes_for_metrics_that_are_reset() -> None:
    assert fit("mae").finding(RULE).status == "passed"


def test_does_not_apply_to_one_epoch() -> None:
    assert fit(Kept(name="own"), 1).finding(RULE).status == "not-applicable"


def test_advice_cures() -> None:
    scope: dict[str, Any] = {"keras": keras}
    exec(blocks(metric_never_reset.ADVICE(code=metric_never_reset.CODE))[0], scope)
    metric = type("Cured", (Kept,), {"reset_state": scope["OwnMetric"].reset_state})(name="own")
    assert fit(metric).finding(RULE).status == "passed"
