"""Rule `threshold-on-training-metric`: a callback stops at a logged value that the model it stops with does not have,
or never stops although the model reached it."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

from diagnose.decide.watched import Watcher, stopped_by
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts

NAME = "threshold-on-training-metric"

_OPERATORS: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def check(facts: Facts) -> Finding:
    """Fails where the value the callback saw and the value of the model it stopped with lie on two sides of the
    threshold."""
    thresholds = [d for d in facts.decisions if d.kind == "threshold"]
    if not thresholds:
        return _without_code(facts)
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    training = [d for d in thresholds if d.on_training_value]
    if not training:
        return _validation_threshold(facts, thresholds[0])
    decision = training[0]
    if decision.value is None:
        return not_applicable(
            NAME, f"{decision.callback} compares '{decision.monitor}' with a value its code does not show."
        )
    if facts.no_replay is not None:
        return not_applicable(NAME, f"Not measured, because replay was not possible: {facts.no_replay}.")
    if decision.hook != "on_epoch_end":
        return not_applicable(NAME, f"{decision.callback} decides in {decision.hook}, not at the end of an epoch.")
    return _training_threshold(facts, decision)


def _training_threshold(facts: Facts, decision: Watcher) -> Finding:
    metric, last = decision.monitor, facts.epochs[-1]
    stopped = stopped_by(facts.trace) == decision.callback
    held = facts.evaluated.get(metric)
    evidence: dict[str, Any] = {
        "callback": decision.callback,
        "recognised_by": "its code and its effect" if stopped else "its code",
        "code": decision.code,
        "comparison": decision.op,
        "threshold": decision.value,
        "stopped": stopped,
        "epoch": last.epoch,
        "logged": last.logs.get(metric),
        "evaluated": held,
    }
    if stopped:
        return _stopped(facts, decision, held, evidence)
    first = _first_reached(facts, decision)
    if first is None:
        return Finding(
            NAME,
            "passed",
            f"Neither the logged nor the re-evaluated {metric} ever reached the threshold.",
            evidence,
            "",
            metric,
        )
    evidence["first_reached_epoch"] = first
    evidence["first_reached_value"] = facts.reevaluated[first][metric]
    title = (
        f"{decision.callback} never stopped the run, but the model reached "
        f"{metric} {decision.op} {number(decision.value)} at the end of epoch {first} "
        f"(re-evaluated {number(facts.reevaluated[first][metric])}; logged {number(_logged(facts, first, metric))})."
    )
    effect = abs(facts.reevaluated[first][metric] - (_logged(facts, first, metric) or 0.0))
    return Finding(NAME, "failed", title, evidence, _advice(decision), metric, effect)


def _stopped(facts: Facts, decision: Watcher, held: float | None, evidence: Mapping[str, Any]) -> Finding:
    metric, last = decision.monitor, facts.epochs[-1]
    logged = last.logs.get(metric)
    if held is None or not isinstance(logged, (int, float)):
        return not_applicable(NAME, f"'{metric}' could not be evaluated with the weights after fit.", evidence)
    if _reached(decision, held):
        title = (
            f"{decision.callback} stopped at {metric} {number(logged)}, "
            f"and the model it stopped with has {number(held)}: also past the threshold."
        )
        return Finding(NAME, "passed", title, evidence, "", metric, abs(held - logged))
    title = (
        f"{decision.callback} stopped after epoch {last.epoch} because the logged {metric} was {number(logged)} "
        f"({decision.op} {number(decision.value)}), but the model it stopped with has {number(held)}."
    )
    return Finding(NAME, "failed", title, evidence, _advice(decision), metric, abs(held - logged))


def _validation_threshold(facts: Facts, decision: Watcher) -> Finding:
    """On validation values the rule can only fail to apply, or be shown to hold."""
    metric, last = decision.monitor, facts.epochs[-1]
    logged, held = last.logs.get(metric), facts.held_validation.get(metric)
    evidence = {
        "callback": decision.callback,
        "code": decision.code,
        "monitor": metric,
        "logged": logged,
        "evaluated": held,
    }
    if held is None or not isinstance(logged, (int, float)):
        return not_applicable(
            NAME,
            f"{decision.callback} watches '{metric}', a validation value; it could not be computed again.",
            evidence,
        )
    if stopped_by(facts.trace) == decision.callback and decision.value is not None and not _reached(decision, held):
        return not_applicable(NAME, f"{decision.callback} watches '{metric}', a validation value.", evidence)
    title = (
        f"{decision.callback} watches '{metric}', computed with one set of weights: "
        f"logged {number(logged)}, the model after fit has {number(held)}."
    )
    return Finding(NAME, "passed", title, evidence, "", metric, abs(held - logged))


def _without_code(facts: Facts) -> Finding:
    who = stopped_by(facts.trace)
    known = {d.callback for d in facts.decisions}
    if who is None or who in known or who in ("EarlyStopping", "TerminateOnNaN"):
        return not_applicable(NAME, "No callback stops at a threshold of a logged value.")
    return not_applicable(
        NAME,
        f"{who} stopped the run, but its code does not show by which value.",
        {"callback": who, "recognised_by": "its effect"},
    )


def _first_reached(facts: Facts, decision: Watcher) -> int | None:
    for epoch in sorted(facts.reevaluated):
        value = facts.reevaluated[epoch].get(decision.monitor)
        if value is not None and _reached(decision, value):
            return epoch
    return None


def _reached(decision: Watcher, value: float) -> bool:
    assert decision.op is not None and decision.value is not None
    return bool(_OPERATORS[decision.op](value, decision.value))


def _logged(facts: Facts, epoch: int, metric: str) -> float | None:
    value = next((e.logs.get(metric) for e in facts.epochs if e.epoch == epoch), None)
    return float(value) if isinstance(value, (int, float)) else None


def _advice(decision: Watcher) -> str:
    return f"""\
Let the callback watch a value computed after the epoch's updates. With the training data as validation data:

```python
class StopAt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["val_{decision.monitor}"] {decision.op} {number(decision.value)}:
            self.model.stop_training = True

model.fit(x, y, validation_data=(x, y), callbacks=[StopAt()])
```
"""
