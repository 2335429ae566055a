"""Rule `threshold-on-training-metric`: a callback stops at a logged value that the model it stops with does not have,
or never stops although the model reached it."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

from diagnose.decide.watched import Watcher, stopped_by
from diagnose.result.diagnosis import Finding
from diagnose.result.text import short
from diagnose.result.texts import Said, Text
from diagnose.rules.common import ITS_CODE, NO_EPOCH, NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts

NAME = "threshold-on-training-metric"

NOT_SHOWN = Text(
    "threshold-on-training-metric.not-shown", "{callback} compares '{monitor}' with a value its code does not show."
)
IN_HOOK = Text("threshold-on-training-metric.in-hook", "{callback} decides in {hook}, not at the end of an epoch.")
CODE_AND_EFFECT = Text("recognised-by.code-and-effect", "its code and its effect")
ITS_EFFECT = Text("recognised-by.effect", "its effect")
NEVER = Text(
    "threshold-on-training-metric.never", "Neither the logged nor the re-evaluated {metric} ever reached the threshold."
)
REACHED = Text(
    "threshold-on-training-metric.reached",
    "{callback} never stopped the run, but the model reached {metric} {op} {value:number} at the end of epoch {epoch} "
    "(re-evaluated {again:number}; logged {logged:number}).",
)
NOT_EVALUATED = Text(
    "threshold-on-training-metric.not-evaluated", "'{metric}' could not be evaluated with the weights after fit."
)
PAST_IT = Text(
    "threshold-on-training-metric.past-it",
    "{callback} stopped at {metric} {logged:number}, and the model it stopped with has {held:number}: also past the "
    "threshold.",
)
FAILED = Text(
    "threshold-on-training-metric.failed",
    "{callback} stopped after epoch {epoch} because the logged {metric} was {logged:number} ({op} {value:number}), but "
    "the model it stopped with has {held:number}.",
)
NOT_COMPUTED = Text(
    "threshold-on-training-metric.not-computed",
    "{callback} watches '{metric}', a validation value; it could not be computed again.",
)
VALIDATION = Text("threshold-on-training-metric.validation", "{callback} watches '{metric}', a validation value.")
ONE_SET = Text(
    "threshold-on-training-metric.one-set",
    "{callback} watches '{metric}', computed with one set of weights: logged {logged:number}, the model after fit has "
    "{held:number}.",
)
NONE = Text("threshold-on-training-metric.none", "No callback stops at a threshold of a logged value.")
UNKNOWN = Text(
    "threshold-on-training-metric.unknown", "{callback} stopped the run, but its code does not show by which value."
)
ADVICE = Text(
    "threshold-on-training-metric.advice",
    """\
Let the callback watch a value computed after the epoch's updates. With the training data as validation data:

{code:python}
""",
)

_OPERATORS: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def check(facts: Facts) -> Finding:
    """Fails where the value the callback saw and the value of the model it stopped with lie on two sides of the
    threshold."""
    thresholds = [d for d in facts.decisions if d.kind == "threshold"]
    if not thresholds:
        return _without_code(facts)
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    training = [d for d in thresholds if d.on_training_value]
    if not training:
        return _validation_threshold(facts, thresholds[0])
    decision = training[0]
    if decision.value is None:
        return not_applicable(NAME, NOT_SHOWN(callback=decision.callback, monitor=decision.monitor))
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    if decision.hook != "on_epoch_end":
        return not_applicable(NAME, IN_HOOK(callback=decision.callback, hook=decision.hook))
    return _training_threshold(facts, decision)


def _training_threshold(facts: Facts, decision: Watcher) -> Finding:
    metric, last = decision.monitor, facts.epochs[-1]
    stopped = stopped_by(facts.trace) == decision.callback
    held = facts.measured.evaluated.get(metric)
    evidence: dict[str, Any] = {
        "callback": decision.callback,
        "recognised_by": CODE_AND_EFFECT() if stopped else ITS_CODE(),
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
        return Finding(NAME, "passed", NEVER(metric=metric), evidence, "", metric)
    evidence["first_reached_epoch"] = first
    evidence["first_reached_value"] = facts.measured.reevaluated[first][metric]
    title = REACHED(
        callback=decision.callback,
        metric=metric,
        op=decision.op,
        value=decision.value,
        epoch=first,
        again=facts.measured.reevaluated[first][metric],
        logged=_logged(facts, first, metric),
    )
    effect = abs(facts.measured.reevaluated[first][metric] - (_logged(facts, first, metric) or 0.0))
    return Finding(NAME, "failed", title, evidence, _advice(decision), metric, effect)


def _stopped(facts: Facts, decision: Watcher, held: float | None, evidence: Mapping[str, Any]) -> Finding:
    metric, last = decision.monitor, facts.epochs[-1]
    logged = last.logs.get(metric)
    if held is None or not isinstance(logged, (int, float)):
        return not_applicable(NAME, NOT_EVALUATED(metric=metric), evidence)
    said = {"callback": decision.callback, "metric": metric, "logged": logged, "held": held}
    if _reached(decision, held):
        return Finding(NAME, "passed", PAST_IT(**said), evidence, "", metric, abs(held - logged))
    title = FAILED(**said, epoch=last.epoch, op=decision.op, value=decision.value)
    return Finding(NAME, "failed", title, evidence, _advice(decision), metric, abs(held - logged))


def _validation_threshold(facts: Facts, decision: Watcher) -> Finding:
    """On validation values the rule can only fail to apply, or be shown to hold."""
    metric, last = decision.monitor, facts.epochs[-1]
    logged, held = last.logs.get(metric), facts.measured.held_validation.get(metric)
    evidence = {
        "callback": decision.callback,
        "code": decision.code,
        "monitor": metric,
        "logged": logged,
        "evaluated": held,
    }
    if held is None or not isinstance(logged, (int, float)):
        return not_applicable(NAME, NOT_COMPUTED(callback=decision.callback, metric=metric), evidence)
    if stopped_by(facts.trace) == decision.callback and decision.value is not None and not _reached(decision, held):
        return not_applicable(NAME, VALIDATION(callback=decision.callback, metric=metric), evidence)
    title = ONE_SET(callback=decision.callback, metric=metric, logged=logged, held=held)
    return Finding(NAME, "passed", title, evidence, "", metric, abs(held - logged))


def _without_code(facts: Facts) -> Finding:
    who = stopped_by(facts.trace)
    known = {d.callback for d in facts.decisions}
    if who is None or who in known or who in ("EarlyStopping", "TerminateOnNaN"):
        return not_applicable(NAME, NONE())
    return not_applicable(NAME, UNKNOWN(callback=who), {"callback": who, "recognised_by": ITS_EFFECT()})


def _first_reached(facts: Facts, decision: Watcher) -> int | None:
    for epoch in sorted(facts.measured.reevaluated):
        value = facts.measured.reevaluated[epoch].get(decision.monitor)
        if value is not None and _reached(decision, value):
            return epoch
    return None


def _reached(decision: Watcher, value: float) -> bool:
    assert decision.op is not None and decision.value is not None
    return bool(_OPERATORS[decision.op](value, decision.value))


def _logged(facts: Facts, epoch: int, metric: str) -> float | None:
    value = next((e.logs.get(metric) for e in facts.epochs if e.epoch == epoch), None)
    return float(value) if isinstance(value, (int, float)) else None


def _advice(decision: Watcher) -> Said:
    code = f"""\
class StopAt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["val_{decision.monitor}"] {decision.op} {short(decision.value)}:
            self.model.stop_training = True

model.fit(x, y, epochs=..., validation_data=(x, y), callbacks=[StopAt()])"""
    return ADVICE(code=code)
