from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import constant_monitor
from tests.rules.advice import cures, paste
from tests.rules.runs import data, fit

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
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(arguments.pop("rate", 0.5)), "binary_crossentropy", metrics=[metric])
    tracer = Tracer()
    callbacks = [stopping(arguments.pop("monitor")), tracer]
    model.fit(x, arguments.pop("labels", y), epochs=5, verbose=0, callbacks=callbacks, **arguments)
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


class Hits(keras.metrics.Mean):  # type: ignore[misc]
    """A share of rows under a name that does not say so."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        hits = keras.ops.cast(keras.ops.equal(y_true > 0.5, y_pred > 0.5), "float32")
        super().update_state(hits, sample_weight)


def test_passes_for_a_share_of_few_validation_rows_that_stands_still() -> None:
    """Few validation rows, all right from the first epoch on; the same over the training rows changes."""
    x, y = data()
    far = np.abs(x[:, 0] - 0.5 * x[:, 1]) > 1.5
    held = (x[far][:8], (x[far, 0] > 0.5 * x[far, 1])[:8, None].astype("float32"))
    finding = own(Hits(name="own"), monitor="val_own", validation_data=held, labels=y[:, None])
    assert finding.status == "passed" and "'own', the same over training rows, changed" in finding.title
    assert finding.evidence["values"] == 1.0 and finding.evidence["epochs"] == 4


@pytest.mark.recorded
def test_passes_for_a_value_that_moves() -> None:
    assert fit(stopping("loss"), epochs=5).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_a_watcher_or_where_loss_says_nothing() -> None:
    assert fit(epochs=5).finding(RULE).status == "not-applicable"
    assert fit(stopping("loss"), epochs=5, rate=0.0).finding(RULE).status == "not-applicable"
    assert fit(stopping("loss"), epochs=2).finding(RULE).status == "not-applicable"


@cures(RULE)
def test_advice_keeps_the_best_epoch_by_a_value_that_changes() -> None:
    """Of the user's call, what was set for the other value (direction, baseline, smallest change) does not stay."""
    own = keras.callbacks.EarlyStopping(
        "score", mode="max", min_delta=5.0, baseline=0.1, patience=8, restore_best_weights=True
    )
    arguments: dict[str, Any] = {"rate": 30.0, "batch": 64, "epochs": 8, "validation": True}
    seen = fit(Puts(), own, **arguments)
    best = min(log["val_loss"] for log in seen.witness.logs)
    assert seen.evaluate()["loss"] > 1.01 * best
    code = "```python\ncallback = " + seen.finding(RULE).advice.partition("```python\n")[2]
    pasted = paste(code)["callback"]
    assert (pasted.monitor, pasted.patience) == ("val_loss", 8)
    again = fit(Puts(), pasted, **arguments)
    assert again.evaluate()["loss"] == pytest.approx(best, rel=1e-5)


class AllStill(keras.Model):  # type: ignore[misc]
    """A step of its own that trains, and logs one value for all epochs."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs)

    def get_metrics_result(self) -> dict[str, float]:
        return {"loss": 1.5}


def test_advice_watches_nothing_where_nothing_changes() -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    inputs = keras.Input((3,))
    model = AllStill(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    tracer = Tracer()
    model.fit(x, y, epochs=4, verbose=0, callbacks=[keras.callbacks.EarlyStopping("loss", patience=9), tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "failed" and "```" not in finding.advice
    assert "No other value that was logged" in finding.advice
