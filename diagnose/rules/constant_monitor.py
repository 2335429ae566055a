"""Rule `constant-monitor`: the watched value is the same in every epoch while the weights move: its metric is never
updated, or nothing that is trained reaches it."""

from __future__ import annotations

import math
from typing import Any, Final

from diagnose.decide.better import believed
from diagnose.decide.clock import metric_of
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NOT_WATCHED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_for_another
from diagnose.rules.passes import validation_passes
from diagnose.tracefile import metric_state

NAME = "constant-monitor"

FEWEST_EPOCHS: Final = 3
_STEPS: Final = 64
_COUNTS: Final = (
    *("accuracy", "precision", "recall", "positives", "negatives", "iou", "f1", "fbeta", "auc", "sensitivity"),
    "specificity",
)
"""Parts of names of classes and functions that count rows, so that a value may stand still for a while by itself."""

FEW = Text("constant-monitor.few", "No watched value was logged in {least} epochs or more, so none can stand still.")
STILL = Text("constant-monitor.still", "The weights did not move, so no watched value can.")
MOVES = Text("constant-monitor.moves", "What is watched changes: {monitors:quoted}.")
COUNTS = Text(
    "constant-monitor.counts",
    "'{monitor}' was {value:number} in all {epochs} epochs. {trained:given('{trained}', the same over training rows, "
    "changed, and the value is that of a share of the validation rows|By its name it counts rows"
    "{updated:given( and it was computed each time|)})}, so it may stand still by itself.",
)
FAILED = Text(
    "constant-monitor.failed",
    "{callback} watches '{monitor}', which was {value:number} in all {epochs} epochs while the weights moved: "
    "{never:select(train=no train step updated its metric|test=the test step leaves its metric as after a reset|"
    "none=nothing that was trained changed it)}. So no epoch was better than another.",
)
ADVICE = Text(
    "constant-monitor.advice",
    "{never:given(Update the metric in the train step and the test step, or give it to `compile`, which does both|See "
    "that the value is computed from the model, anew in each epoch)}{other:given(; or watch a value that does change:|"
    ". No other value that was logged tells which epoch is better.)}\n{other:given(\n{other:python}\n)}",
)


def check(facts: Facts) -> Finding:
    """Fails where a watched value is one number in all epochs, and either its metric's state never changed in a train
    step, or it is no count that may stand still."""
    watching = [w for w in watchers(facts.trace) if w.source != "learning-rate"]
    if not watching:
        return not_applicable(NAME, NOT_WATCHED())
    valued = [w for w in watching if len(w.valued(facts.trace)) >= FEWEST_EPOCHS]
    if not valued:
        return not_applicable(NAME, FEW(least=FEWEST_EPOCHS))
    if len({facts.trace.states[e.state].weights for e in facts.epochs}) < 2:
        return not_applicable(NAME, STILL())
    findings = [found for w in valued if (found := _judged(facts, w)) is not None]
    failed = next((f for f in findings if f.status == "failed"), None)
    if failed is not None or findings:
        return failed or findings[0]
    return Finding(NAME, "passed", MOVES(monitors=[w.monitor for w in valued]), {"monitors": len(valued)}, "")


def _judged(facts: Facts, w: Watcher) -> Finding | None:
    """What a value that stands still comes to; None for one that moves."""
    found = w.valued(facts.trace)
    values = {value for _, value in found}
    if len(values) > 1 or not math.isfinite(found[0][1]):
        return None
    value = found[0][1]
    name = w.monitor.removeprefix("val_") if w.source == "validation" else w.monitor
    tested = facts.measured.tested
    untold = w.source == "validation" and tested is not None and tested.unmoved.get(name) == value
    updated = False if untold else _updated(facts, name)
    evidence: dict[str, Any] = {
        "callback": w.callback,
        "monitor": w.monitor,
        "values": value,
        "epochs": len(found),
        "updated_in_steps": updated,
    }
    shares = w.source == "validation" and _share_of_rows(facts, name, value)
    if updated is not False and (shares or _counts(facts, name)):
        title = COUNTS(
            monitor=w.monitor, value=value, epochs=len(found), trained=name if shares else None, updated=updated
        )
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    never = True if updated is False else None
    by = "test" if untold else "train" if never else "none"
    title = FAILED(callback=w.callback, monitor=w.monitor, value=value, epochs=len(found), never=by)
    other = _moving(facts)
    code = None if other is None else call_for_another(facts, w, other)
    return Finding(NAME, "failed", title, evidence, ADVICE(never=never, other=code), w.monitor)


def _moving(facts: Facts) -> str | None:
    """A logged value that does change, of which it is known which way it is better: of validation before training, the
    loss before others."""
    names = dict.fromkeys(name for epoch in facts.epochs for name in epoch.logs)
    for name in sorted(names, key=lambda n: (not n.startswith("val_"), n.removeprefix("val_") != "loss")):
        values = {e.logs.get(name) for e in facts.epochs}
        told = believed(facts.trace, metric_of(facts.trace, name)) is not None
        if told and len(values) > 1 and all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
            return name
    return None


def _updated(facts: Facts, name: str) -> bool | None:
    """Whether a train step changed the state of the metric of this name; None where that is not recorded."""
    described = facts.trace.header.metric_variables
    places = [i for i, v in enumerate(described) if v.log == name]
    layout = metric_state.layout(described)
    seen = False
    for step in facts.trace.steps[:: max(1, len(facts.trace.steps) // _STEPS)] if places else ():
        if step.metrics_before is None or step.metrics_after is None:
            continue
        before, after = (metric_state.arrays(layout, raw) for raw in (step.metrics_before, step.metrics_after))
        if before is None or after is None:
            continue
        seen = True
        if any(before[i].tobytes() != after[i].tobytes() for i in places):
            return True
    return False if seen else None


def _share_of_rows(facts: Facts, name: str, value: float) -> bool:
    """Whether the value can be that of some, but not none, of the rows of a validation pass, of a metric whose value
    over training rows does change."""
    if len({e.logs.get(name) for e in facts.epochs}) < 2 or value == 0.0:
        return False
    passes = validation_passes(facts.trace)
    rows = 0 if isinstance(passes, str) or not passes else len(passes[0])
    return rows > 0 and abs(value * rows - round(value * rows)) <= 1e-4 * max(1.0, abs(value * rows))


def _counts(facts: Facts, name: str) -> bool:
    described = next((m for m in facts.trace.header.metrics or () if m.name == name), None)
    words = [name, *(() if described is None else (described.class_name, described.function or ""))]
    return any(part in word.lower() for word in words for part in _COUNTS) or "acc" in name.lower()
