from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.rules import metric_never_reset
from tests.rules.advice import cures, paste
from tests.rules.traced import Traced, traced

RULE = metric_never_reset.NAME


class Kept(keras.metrics.MeanAbsoluteError):  # type: ignore[misc]
    def reset_state(self) -> None:
        pass


def fit(metric: Any, epochs: int = 3, **arguments: Any) -> Traced:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=[metric])
    return traced(model, x, x[:, :1], epochs=epochs, batch_size=8, **arguments)


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


@cures(RULE)
def test_advice_gives_the_value_of_each_epoch() -> None:
    finding, plain = fit(Kept(name="own")).finding(RULE), fit(keras.metrics.MeanAbsoluteError(name="own"))
    assert "in `Kept`" in finding.advice
    metric = type("Kept", (Kept,), {"reset_state": paste(finding.advice)["reset_state"]})(name="own")
    assert fit(metric).history["own"] == pytest.approx(plain.history["own"], rel=1e-6)


def test_fails_with_a_validation_pass_between_the_epochs() -> None:
    """What validation adds goes on into the next epoch, too, so the epoch does not begin as the one before ended."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    held = (x[:8] + 1.0, x[:8, :1])
    run = fit(Kept(name="own"), validation_data=held)
    plain = fit(keras.metrics.MeanAbsoluteError(name="own"), validation_data=held)
    finding = run.finding(RULE)
    assert finding.status == "failed" and finding.evidence["metrics"] == ["own"] and finding.evidence["epochs"] == 2
    each = [v for pair in zip(plain.history["own"], plain.history["val_own"], strict=True) for v in pair]
    sizes = [32, 8] * 3
    wanted = [np.average(each[: n + 1], weights=sizes[: n + 1]) for n in (0, 2, 4)]
    assert run.history["own"] == pytest.approx(wanted, rel=1e-5)


class HalfKept(keras.metrics.MeanAbsoluteError):  # type: ignore[misc]
    def reset_state(self) -> None:
        self.total.assign(0.0)


def test_fails_for_a_metric_that_is_reset_in_part() -> None:
    run, plain = fit(HalfKept(name="own")), fit(keras.metrics.MeanAbsoluteError(name="own"))
    finding = run.finding(RULE)
    assert finding.status == "failed" and "kept a part of its state" in finding.title
    assert run.history["own"] == pytest.approx([v / (n + 1) for n, v in enumerate(plain.history["own"])], rel=1e-5)


class Scaled(keras.metrics.MeanAbsoluteError):  # type: ignore[misc]
    """Holds a number that a callback changes between epochs, and no step."""

    def __init__(self) -> None:
        super().__init__(name="own")
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def reset_state(self) -> None:
        self.total.assign(0.0)
        self.count.assign(0.0)

    def result(self) -> Any:
        return self.scale * super().result()


def test_passes_for_a_state_that_no_step_changes() -> None:
    metric = Scaled()
    raise_it = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: metric.scale.assign(1.0 + epoch))
    assert fit(metric, callbacks=[raise_it]).finding(RULE).status == "passed"


class Forgets(keras.Sequential):  # type: ignore[misc]
    def reset_metrics(self) -> None:
        """Without `super()`."""


def test_a_model_that_resets_none_is_told_so_and_evaluate_is_not_called_random() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")

    def made(kind: Any) -> Traced:
        keras.utils.set_random_seed(1)
        model = kind([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
        return traced(model, x, x[:, :1], epochs=3, batch_size=8)

    run = made(Forgets)
    finding = run.finding(RULE)
    assert finding.status == "failed" and finding.evidence["metrics"] == ["loss", "mae"]
    assert run.finding("random-evaluate").status == "not-applicable"
    assert "in `Forgets`" in finding.advice
    cured = type("Forgets", (Forgets,), {"reset_metrics": paste(finding.advice)["reset_metrics"]})
    assert made(cured).history["mae"] == pytest.approx(made(keras.Sequential).history["mae"], rel=1e-6)
