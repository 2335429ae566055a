from __future__ import annotations

from typing import Any

import keras
import pytest

from diagnose.rules import constant_monitor
from tests.rules.advice import blocks
from tests.rules.runs import fit

RULE = constant_monitor.NAME


class NeverUpdated(keras.metrics.Mean):  # type: ignore[misc]
    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        pass


class Puts(keras.callbacks.Callback):
    """Puts a value into the logs that it computed once."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["score"] = 0.25


def stopping(monitor: str) -> Any:
    return keras.callbacks.EarlyStopping(monitor=monitor, mode="max", patience=3, restore_best_weights=True)


def own(metric: Any, **arguments: Any) -> Any:
    from diagnose import Tracer
    from tests.rules.runs import data

    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(arguments.pop("rate", 0.5)), "binary_crossentropy", metrics=[metric])
    tracer = Tracer()
    callbacks = [stopping(arguments.pop("monitor")), tracer]
    model.fit(x, y, epochs=5, verbose=0, callbacks=callbacks, **arguments)
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def test_fails_for_a_metric_that_is_never_updated() -> None:
    for monitor, more in (("own", {}), ("val_own", {"validation_split": 0.25})):
        finding = own(NeverUpdated(name="own"), monitor=monitor, **more)
        assert finding.status == "failed" and finding.metric == monitor
        assert finding.evidence["updated_in_steps"] is False and finding.evidence["values"] == 0.0
        assert "no train step updated its metric" in finding.title


@pytest.mark.recorded
def test_fails_for_a_value_that_training_does_not_reach() -> None:
    seen = fit(Puts(), stopping("score"), epochs=5)
    finding = seen.finding(RULE)
    assert finding.status == "failed" and finding.evidence["values"] == 0.25
    assert [log["score"] for log in seen.witness.logs] == [0.25] * len(seen.witness.logs)


@pytest.mark.recorded
def test_passes_for_a_count_that_stands_still_by_itself() -> None:
    """A rate so small that no row changes sides."""
    finding = own("accuracy", monitor="accuracy", rate=1e-6)
    assert finding.status == "passed" and finding.evidence["updated_in_steps"] is True


@pytest.mark.recorded
def test_passes_for_a_value_that_moves() -> None:
    assert fit(stopping("loss"), epochs=5).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_a_watcher_or_where_weights_stand_still() -> None:
    assert fit(epochs=5).finding(RULE).status == "not-applicable"
    assert fit(stopping("loss"), epochs=5, rate=0.0).finding(RULE).status == "not-applicable"
    assert fit(stopping("loss"), epochs=2).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_advice_watches_another_value() -> None:
    finding = fit(Puts(), stopping("score"), epochs=5).finding(RULE)
    (code,) = blocks(finding.advice)
    made = eval(code, {"keras": keras})
    assert made.monitor == "loss" and made.patience == 3 and made.restore_best_weights
