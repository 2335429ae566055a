from __future__ import annotations

from typing import Any

import keras
import pytest

from tests.rules.runs import fit

RULE = "threshold-on-training-metric"


class StopBelow(keras.callbacks.Callback):
    """Stops when the logged loss falls below a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (logs or {}).get("loss", 1e9) < self.limit:
            self.model.stop_training = True


class StopOnValidation(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_loss"] < 0.55:
            self.model.stop_training = True


def losses(**arguments: Any) -> tuple[list[float], list[float]]:
    """Logged and evaluated losses of the same fit without a threshold, by the test's own evaluate."""
    seen = fit(**arguments)
    return [log["loss"] for log in seen.witness.logs], [seen.evaluate(w)["loss"] for w in seen.witness.weights]


OVERSHOOT: dict[str, Any] = {"rate": 30.0, "batch": 64, "epochs": 8}


def test_fails_where_the_model_it_stops_with_is_on_the_other_side() -> None:
    logged, evaluated = losses(**OVERSHOOT)
    epoch = next(i for i in range(8) if evaluated[i] > logged[i] and logged[i] == min(logged[: i + 1]))
    limit = (logged[epoch] + min(evaluated[epoch], *logged[:epoch] or [9e9])) / 2
    seen = fit(StopBelow(limit), **OVERSHOOT)
    assert len(seen.witness.logs) == epoch + 1
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["stopped"] is True
    assert finding.evidence["recognised_by"] == "its code and its effect"
    assert finding.evidence["comparison"] == "<"
    assert finding.evidence["threshold"] == limit
    assert finding.evidence["evaluated"] == pytest.approx(evaluated[epoch], rel=1e-5)
    assert finding.effect == pytest.approx(abs(evaluated[epoch] - logged[epoch]), rel=1e-4)
    assert seen.diagnosis.headline == finding.title


def test_passes_where_the_model_has_the_value() -> None:
    logged, evaluated = losses(rate=0.1)
    limit = logged[2] * 1.0001
    assert evaluated[2] < limit < logged[1]
    finding = fit(StopBelow(limit), rate=0.1).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["stopped"] is True


def test_fails_where_the_run_never_stops_although_the_model_got_there() -> None:
    logged, evaluated = losses(rate=0.1, epochs=4)
    limit = (min(logged) + min(evaluated)) / 2
    assert min(evaluated) < limit < min(logged)
    finding = fit(StopBelow(limit), rate=0.1, epochs=4).finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["stopped"] is False
    first = next(i for i, value in enumerate(evaluated) if value < limit)
    assert finding.evidence["first_reached_epoch"] == first + 1
    assert finding.evidence["first_reached_value"] == pytest.approx(evaluated[first], rel=1e-5)


@pytest.mark.recorded
def test_passes_where_neither_ever_got_there() -> None:
    assert fit(StopBelow(1e-6)).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_threshold_on_validation() -> None:
    finding = fit(StopOnValidation(), validation=True, epochs=20).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["evaluated"] == pytest.approx(finding.evidence["logged"], rel=1e-6)


@pytest.mark.recorded
@pytest.mark.parametrize("callbacks", [(), (keras.callbacks.EarlyStopping("loss", patience=1),)])
def test_does_not_apply_without_a_threshold(callbacks: tuple[Any, ...]) -> None:
    assert fit(*callbacks).finding(RULE).status == "not-applicable"


def test_a_stop_without_a_visible_threshold_is_named_but_not_judged() -> None:
    class Opaque(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = bool(sum(logs.values()) < 1e9)

    finding = fit(Opaque()).finding(RULE)
    assert finding.status == "not-applicable"
    assert finding.evidence == {"callback": "Opaque", "recognised_by": "its effect"}
