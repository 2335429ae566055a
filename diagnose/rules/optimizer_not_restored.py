"""Rule `optimizer-not-restored`: training went on from the weights of one moment with the optimizer of another
(keras#2378, tf#40342)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.tracefile.about import OptimizerState, Previous, Start
from diagnose.tracefile.events import WeightsChanged

NAME = "optimizer-not-restored"


def check(facts: Facts) -> Finding:
    """Fails where a fit starts, or goes on after a callback, with weights of an earlier moment and optimizer variables,
    step count or learning rate that are not those of that moment."""
    trace = facts.trace
    inside = _inside(facts)
    if inside is not None:
        return inside
    start = trace.header.start
    if start is None:
        return not_applicable(NAME, "This trace does not say what state the optimizer was in before the first step.")
    if not trace.steps:
        return not_applicable(NAME, "No steps were recorded." if trace.unrecorded else "No step was done.")
    previous = start.previous
    both_new = previous is not None and previous.epoch == 0 and not start.iterations
    if previous is not None and not both_new:
        return _from_earlier_fit(facts, start, previous)
    initial = trace.steps[0].epoch - 1
    if initial > 0:
        return _from_elsewhere(facts, start, initial)
    if start.iterations:
        return not_applicable(
            NAME,
            f"The optimizer had done {start.iterations} updates before this fit, but the weights it started from "
            "are of no traced fit, so what they belong together with is not known.",
        )
    return not_applicable(NAME, "Weights and optimizer were both new when this fit started.")


# ── from the weights of an earlier fit ──


def _from_earlier_fit(facts: Facts, start: Start, previous: Previous) -> Finding:
    then, end = previous.then, previous.end
    evidence: dict[str, Any] = {
        "weights_of": {k: getattr(previous, k) for k in ("trace", "epoch", "version")},
        "optimizer_then": _state(then),
        "optimizer_at_start": _state(start),
        "optimizer_at_end_of_that_fit": _state(end),
        "same_optimizer_object": previous.same_optimizer,
    }
    evidence |= _jump(facts, previous)
    lost = _lost(facts, start, previous)
    what = _moment(previous)
    if not lost:
        rate = start.learning_rate
        with_rate = "" if rate is None else f", its learning rate {number(rate)} included"
        if then.same and then.iterations == start.iterations:
            title = f"This fit went on from {what} with the optimizer's state of that moment{with_rate}."
        elif previous.same_optimizer or previous.same_settings:
            title = f"This fit went on from {what}; its optimizer keeps nothing that could be lost."
        else:
            title = f"This fit started anew from {what}, with an optimizer that was set up differently."
        return Finding(NAME, "passed", title, evidence, "", "loss")
    evidence["not_of_that_moment"] = lost
    title = f"This fit went on from {what}, but {_optimizer(start, previous, lost)}.{_numbers(evidence)}"
    # Another rate alone makes no jump: it shows in how fast the loss moves from there.
    effect = evidence.get("jump") if lost != ["learning_rate"] else None
    metric = "loss" if effect is not None else None
    return Finding(NAME, "failed", title, evidence, _advice(start, previous, lost), metric, effect)


def _lost(facts: Facts, start: Start, previous: Previous) -> list[str]:
    """Which parts of the optimizer's state are of another moment and can move training."""
    then, end = previous.then, previous.end
    if not previous.same_optimizer and not previous.same_settings and not _told_to_continue(facts):
        return []
    found = []
    keeps = max(start.slots, then.slots, end.slots) > 0
    if keeps and not then.same:
        found.append("variables")
    counts = keeps or start.learning_rate is None  # a schedule goes by the count
    if counts and start.iterations != then.iterations:
        found.append("iterations")
    rates = [x.learning_rate for x in (start, then, end)]
    # A rate that is neither of that moment nor what the fit ended with was set on purpose.
    left = previous.same_optimizer and rates[0] == rates[2]
    if left and None not in rates and rates[0] != rates[1]:
        found.append("learning_rate")
    return found


def _told_to_continue(facts: Facts) -> bool:
    return facts.trace.steps[0].epoch > 1


def _moment(previous: Previous) -> str:
    if previous.epoch == 0:
        return f"the weights that {previous.trace} had started from"
    return f"the weights of epoch {previous.epoch} of {previous.trace}"


def _optimizer(start: Start, previous: Previous, lost: list[str]) -> str:
    then, end = previous.then, previous.end
    if lost == ["learning_rate"]:
        return (
            f"with the learning rate {number(start.learning_rate)} that was left at the end of that fit, not the "
            f"{number(then.learning_rate)} of that epoch"
        )
    rate = ""
    if "learning_rate" in lost:
        rate = f" (learning rate {number(start.learning_rate)}, then {number(then.learning_rate)})"
    if not start.iterations:
        return f"its optimizer is a new one: 0 updates, where it had done {then.iterations}{rate}"
    if previous.same_optimizer and end.same and end.iterations == start.iterations:
        return (
            f"with the optimizer as that fit left it after epoch {previous.last_epoch}: {start.iterations} "
            f"updates in it, where these weights had {then.iterations}{rate}"
        )
    return f"the optimizer is of another moment: {start.iterations} updates, not {then.iterations}{rate}"


def _jump(facts: Facts, previous: Previous | None) -> dict[str, Any]:
    """What the loss did: of the weights at the start, logged for the first epoch, and, in the earlier fit, logged for
    the epoch that came after these weights."""
    found: dict[str, Any] = {}
    first = facts.epochs[0] if facts.epochs else None
    started, logged = facts.started.get("loss"), None if first is None else first.logs.get("loss")
    if isinstance(logged, (int, float)) and first is not None:
        found["first_epoch"], found["first_logged"] = first.epoch, float(logged)
        after = facts.reevaluated.get(first.epoch, {}).get("loss")
        if started is not None:
            found["evaluated_at_start"], found["jump"] = started, abs(float(logged) - started)
        if after is not None:
            found["evaluated_after_first_epoch"] = after
    then = None if previous is None else (previous.next_logs or {}).get("loss")
    if then is not None:
        found["next_epoch_then"] = then
    return found


def _numbers(evidence: Mapping[str, Any]) -> str:
    if "evaluated_at_start" not in evidence:
        return ""
    text = (
        f" Loss: {number(evidence['evaluated_at_start'])} evaluated at the start, {number(evidence['first_logged'])} "
        "logged for the first epoch"
    )
    then = evidence.get("next_epoch_then")
    return f"{text}." if then is None else f"{text}; after the same weights, the earlier fit had logged {number(then)}."


# ── from weights of another process ──


def _from_elsewhere(facts: Facts, start: Start, initial: int) -> Finding:
    """What is known without the earlier fit: it was told to continue, and the optimizer has not done an update."""
    evidence = {"initial_epoch": initial, "optimizer_at_start": _state(start), **_jump(facts, None)}
    if start.iterations is None:
        return not_applicable(NAME, "The optimizer does not count its updates.", evidence)
    if start.iterations:
        title = f"This fit went on after epoch {initial} with an optimizer that had done {start.iterations} updates."
        return Finding(NAME, "passed", title, evidence, "", "loss")
    kept = [v for v in facts.trace.header.optimizer_variables if v.role in ("slot", "average")]
    if not kept and start.learning_rate is not None:
        title = f"This fit went on after epoch {initial}; its optimizer keeps nothing that could be lost."
        return Finding(NAME, "passed", title, evidence, "", "loss")
    title = (
        f"This fit went on after epoch {initial}, but its optimizer is a new one: 0 updates, and nothing in its "
        f"variables.{_numbers(evidence)}"
    )
    effect = evidence.get("jump")
    metric = "loss" if effect is not None else None
    return Finding(NAME, "failed", title, evidence, _WHOLE_MODEL, metric, effect)


# ── within one fit ──


@dataclass(frozen=True, slots=True)
class _Return:
    """A callback put the weights of an earlier version back, and training went on."""

    callback: str
    epoch: int
    to_epoch: int
    to_version: int


def _inside(facts: Facts) -> Finding | None:
    kept = [v for v in facts.trace.header.optimizer_variables if v.role in ("slot", "average")]
    for found in _returns(facts) if kept else []:
        ends = {e.epoch: facts.trace.states[e.state] for e in facts.epochs}
        then, now = ends.get(found.to_epoch), ends.get(found.epoch)
        if then is None or now is None or then.optimizer_arrays is None or now.optimizer_arrays is None:
            continue
        listed = facts.trace.header.optimizer_variables
        changed = [
            v.path
            for v, a, b in zip(listed, then.optimizer_arrays, now.optimizer_arrays, strict=False)
            if a != b and v.role in ("slot", "average")
        ]
        if not changed:
            continue
        logged = {e.epoch: e.logs.get("loss") for e in facts.epochs}
        before, after = logged.get(found.to_epoch + 1), logged.get(found.epoch + 1)
        evidence = {
            "callback": found.callback,
            "epoch": found.epoch,
            "weights_of": {"epoch": found.to_epoch, "version": found.to_version},
            "optimizer_of": {"epoch": found.epoch},
            "changed": changed,
            "next_epoch_then": before,
            "next_epoch_now": after,
        }
        both = isinstance(before, (int, float)) and isinstance(after, (int, float))
        numbers = f" Loss of the epoch after: {number(before)} then, {number(after)} now." if both else ""
        title = (
            f"{found.callback} put the weights of epoch {found.to_epoch} back at the end of epoch {found.epoch}, and "
            f"training went on from them with the optimizer of epoch {found.epoch}.{numbers}"
        )
        effect = abs(float(after) - float(before)) if both else None  # type: ignore[arg-type]
        return Finding(NAME, "failed", title, evidence, _IN_A_CALLBACK, "loss" if both else None, effect)
    return None


def _returns(facts: Facts) -> list[_Return]:
    trace, found = facts.trace, []
    ends = {e.last_version: e.epoch for e in facts.epochs}
    for event in trace.events_of(WeightsChanged):
        detail = event.detail
        if detail.hook != "on_epoch_end" or detail.callback is None:
            continue
        versions = [v for v in trace.index.versions_of(trace.states[detail.after]) if v in ends]
        if event.epoch is None or event.step is None or not versions or event.step in versions:
            continue
        if len(trace.steps) > event.step:
            found.append(_Return(detail.callback, event.epoch, ends[versions[-1]], versions[-1]))
    return found


def _state(of: Start | OptimizerState) -> dict[str, Any]:
    return {k: getattr(of, k) for k in ("iterations", "learning_rate", "slots", "same") if hasattr(of, k)}


_WHOLE_MODEL = """\
A resume needs weights and optimizer from one moment. The whole model in one file has both:

```python
model.save("last.keras")                            # at the end of the earlier fit
model = keras.saving.load_model("last.keras")       # with its optimizer: do not compile again
model.fit(x, y, initial_epoch=10, epochs=20)
```
"""

_IN_A_CALLBACK = """\
Put the optimizer's variables back with the weights (in the callback, where `self.weights` is noted):

```python
self.optimizer_state = [keras.ops.copy(v.value) for v in self.model.optimizer.variables]  # with the weights
for variable, value in zip(self.model.optimizer.variables, self.optimizer_state):         # when they are put back
    variable.assign(value)
```
"""


def _advice(start: Start, previous: Previous, lost: list[str]) -> str:
    if lost == ["learning_rate"]:
        return f"""\
Set the rate you want to go on with; `fit` and `set_weights` leave it as it is:

```python
model.optimizer.learning_rate = {previous.then.learning_rate!r}
```
"""
    if previous.epoch == 0:
        return """\
Weights alone do not make a model new. Compile again, so that the optimizer starts with them:

```python
model.set_weights(initial_weights)
model.compile(optimizer=keras.optimizers.Adam(), loss=model.loss)
```
"""
    return _WHOLE_MODEL
