"""Rule `optimizer-not-restored`: training went on from the weights of one moment with the optimizer of another
(keras#2378, tf#40342)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnose.decide.rolled_back import left_behind, returns
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile.about import OptimizerState, Previous, Start

NAME = "optimizer-not-restored"

NOT_SAID = Text(
    "optimizer-not-restored.not-said", "This trace does not say what state the optimizer was in before the first step."
)
NO_STEP = Text("optimizer-not-restored.no-step", "No step was done.")
NOT_RECORDED = Text("optimizer-not-restored.not-recorded", "No steps were recorded.")
NOT_KNOWN = Text(
    "optimizer-not-restored.not-known",
    "The optimizer had done {updates} updates before this fit, but the weights it started from are of no traced fit, "
    "so what they belong together with is not known.",
)
BOTH_NEW = Text("optimizer-not-restored.both-new", "Weights and optimizer were both new when this fit started.")
INITIAL = Text("optimizer-not-restored.initial", "the weights that {trace} had started from")
OF_EPOCH = Text("optimizer-not-restored.of-epoch", "the weights of epoch {epoch} of {trace}")
SAME = Text(
    "optimizer-not-restored.same",
    "This fit went on from {what} with the optimizer's state of that moment"
    "{set_to:given(, but for its learning rate: that went from {rate:number} to {set_to:number}|{rate:given(, its "
    "learning rate {rate:number} included)})}.",
)
KEEPS_NOTHING = Text(
    "optimizer-not-restored.keeps-nothing",
    "This fit went on from {what}; its optimizer keeps nothing that could be lost.",
)
ANEW = Text(
    "optimizer-not-restored.anew", "This fit started anew from {what}, with an optimizer that was set up differently."
)
RATE_LEFT = Text(
    "optimizer-not-restored.rate-left",
    "This fit went on from {what}, but with the learning rate {rate:number} that was left at the end of that fit, not "
    "the {rate_then:number} of that epoch.",
)
_RATES = "{rate:given( (learning rate {rate:number}, then {rate_then:number}))}"
NEW = Text(
    "optimizer-not-restored.new",
    f"This fit went on from {{what}}, but its optimizer is a new one: 0 updates, where it had done {{then}}{_RATES}.",
)
AS_LEFT = Text(
    "optimizer-not-restored.as-left",
    "This fit went on from {what}, but with the optimizer as that fit left it after epoch {last}: {updates} updates in "
    f"it, where these weights had {{then}}{_RATES}.",
)
OTHER_MOMENT = Text(
    "optimizer-not-restored.other-moment",
    "This fit went on from {what}, but the optimizer is of another moment: {updates} updates, not {then}"
    f"{_RATES}.",
)
LOSS = Text(
    "optimizer-not-restored.loss",
    "Loss: {started:number} evaluated at the start, {logged:number} logged for the first epoch"
    "{then:given(; after the same weights, the earlier fit had logged {then:number})}.",
)
NOT_COUNTED = Text("optimizer-not-restored.not-counted", "The optimizer does not count its updates.")
WENT_ON = Text(
    "optimizer-not-restored.went-on",
    "This fit went on after epoch {epoch} with an optimizer that had done {updates} updates.",
)
WENT_ON_KEEPS_NOTHING = Text(
    "optimizer-not-restored.went-on-keeps-nothing",
    "This fit went on after epoch {epoch}; its optimizer keeps nothing that could be lost.",
)
WENT_ON_NEW = Text(
    "optimizer-not-restored.went-on-new",
    "This fit went on after epoch {epoch}, but its optimizer is a new one: 0 updates, and nothing in its variables.",
)
PUT_BACK = Text(
    "optimizer-not-restored.put-back",
    "{callback} put {part:select(whole=the weights|trainable=the trainable weights)} of {to_end:given(|version "
    "{version}, in )}{to:given(epoch {to}|before the first update)} back {at_end:given(after|in)} epoch "
    "{epoch}, and training went on from them with the optimizer of epoch {epoch}."
    "{before:given( Loss of the epoch after: {before:number} then, {after:number} now.)}",
)
ADVICE_WHOLE_MODEL = Text(
    "optimizer-not-restored.advice-whole-model",
    "A resume needs weights and optimizer from one moment. The whole model in one file has both:\n\n{code:python}\n",
)
CODE_WHOLE_MODEL = """\
model.save("last.keras")                            # at the end of the earlier fit
model = keras.saving.load_model("last.keras")       # with its optimizer: do not compile again
model.fit(x, y, initial_epoch=10, epochs=20)"""
ADVICE_IN_A_CALLBACK = Text(
    "optimizer-not-restored.advice-in-a-callback",
    """\
Put the optimizer's variables back with the weights (in the callback, where `self.weights` is noted):

{code:python}
""",
)
CODE_IN_A_CALLBACK = """\
self.optimizer_state = [keras.ops.copy(v.value) for v in self.model.optimizer.variables]  # with the weights
for variable, value in zip(self.model.optimizer.variables, self.optimizer_state):         # when they are put back
    variable.assign(value)"""
ADVICE_RATE = Text(
    "optimizer-not-restored.advice-rate",
    "Set the rate you want to go on with; `fit` and `set_weights` leave it as it is:\n\n{code:python}\n",
)
ADVICE_COMPILE = Text(
    "optimizer-not-restored.advice-compile",
    """\
Weights alone do not make a model new. Compile again, so that the optimizer starts with them:

{code:python}
""",
)
CODE_COMPILE = """\
model.set_weights(initial_weights)
model.compile(optimizer=keras.optimizers.Adam(), loss=model.loss)"""


def check(facts: Facts) -> Finding:
    """Fails where a fit starts, or goes on after a callback, with weights of an earlier moment and optimizer variables,
    step count or learning rate that are not those of that moment."""
    trace = facts.trace
    inside = _inside(facts)
    if inside is not None:
        return inside
    start = trace.header.start
    if start is None:
        return not_applicable(NAME, NOT_SAID())
    if not trace.steps:
        return not_applicable(NAME, NOT_RECORDED() if trace.unrecorded else NO_STEP())
    previous = start.previous
    both_new = previous is not None and previous.epoch == 0 and not start.iterations
    if previous is not None and not both_new:
        return _from_earlier_fit(facts, start, previous)
    initial = trace.steps[0].epoch - 1
    if initial > 0:
        return _from_elsewhere(facts, start, initial)
    if start.iterations:
        return not_applicable(NAME, NOT_KNOWN(updates=start.iterations))
    return not_applicable(NAME, BOTH_NEW())


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
        if then.same and then.iterations == start.iterations:
            rates = (then.learning_rate, start.learning_rate)
            set_to = rates[1] if None not in rates and rates[0] != rates[1] else None
            title = SAME(what=what, rate=start.learning_rate if set_to is None else rates[0], set_to=set_to)
        elif previous.same_optimizer or previous.same_settings:
            title = KEEPS_NOTHING(what=what)
        else:
            title = ANEW(what=what)
        return Finding(NAME, "passed", title, evidence, "", "loss")
    evidence["not_of_that_moment"] = lost
    title = sentences(_optimizer(what, start, previous, lost), _numbers(evidence))
    # Another rate alone makes no jump: it shows in how fast the loss moves from there.
    effect = evidence.get("jump") if lost != ["learning_rate"] else None
    metric = "loss" if effect is not None else None
    return Finding(NAME, "failed", title, evidence, _advice(previous, lost), metric, effect)


def _lost(facts: Facts, start: Start, previous: Previous) -> list[str]:
    """Which parts of the optimizer's state are of another moment and can move training."""
    then, end = previous.then, previous.end
    if not previous.same_optimizer and (not previous.same_settings or _other_variables(facts, then)):
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


def _other_variables(facts: Facts, then: OptimizerState) -> bool:
    """Whether a new optimizer trains other variables than the earlier one did: layers were frozen or unfrozen, which
    takes a new one (fine tuning in two phases)."""
    now = sum(v.role in ("slot", "average") for v in facts.trace.header.optimizer_variables)
    return 0 < now != then.slots > 0


def _moment(previous: Previous) -> Said:
    if previous.epoch == 0:
        return INITIAL(trace=str(previous.trace))
    return OF_EPOCH(epoch=previous.epoch, trace=str(previous.trace))


def _optimizer(what: Said, start: Start, previous: Previous, lost: list[str]) -> Said:
    then, end = previous.then, previous.end
    said = {
        "what": what,
        "updates": start.iterations,
        "then": then.iterations,
        "rate": start.learning_rate if "learning_rate" in lost else None,
        "rate_then": then.learning_rate,
    }
    if lost == ["learning_rate"]:
        return RATE_LEFT(**said)
    if not start.iterations:
        return NEW(**said)
    if previous.same_optimizer and end.same and end.iterations == start.iterations:
        return AS_LEFT(**said, last=previous.last_epoch)
    return OTHER_MOMENT(**said)


def _jump(facts: Facts, previous: Previous | None) -> dict[str, Any]:
    """What the loss did: of the weights at the start, logged for the first epoch, and, in the earlier fit, logged for
    the epoch that came after these weights."""
    found: dict[str, Any] = {}
    first = facts.epochs[0] if facts.epochs else None
    started, logged = facts.measured.started.get("loss"), None if first is None else first.logs.get("loss")
    if isinstance(logged, (int, float)) and first is not None:
        found["first_epoch"], found["first_logged"] = first.epoch, float(logged)
        after = facts.measured.reevaluated.get(first.epoch, {}).get("loss")
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
    started, logged = evidence["evaluated_at_start"], evidence["first_logged"]
    return LOSS(started=started, logged=logged, then=evidence.get("next_epoch_then"))


# ── from weights of another process ──


def _from_elsewhere(facts: Facts, start: Start, initial: int) -> Finding:
    """What is known without the earlier fit: it was told to continue, and the optimizer has not done an update."""
    evidence = {"initial_epoch": initial, "optimizer_at_start": _state(start), **_jump(facts, None)}
    if start.iterations is None:
        return not_applicable(NAME, NOT_COUNTED(), evidence)
    if start.iterations:
        title = WENT_ON(epoch=initial, updates=start.iterations)
        return Finding(NAME, "passed", title, evidence, "", "loss")
    kept = [v for v in facts.trace.header.optimizer_variables if v.role in ("slot", "average")]
    if not kept and start.learning_rate is not None:
        title = WENT_ON_KEEPS_NOTHING(epoch=initial)
        return Finding(NAME, "passed", title, evidence, "", "loss")
    title = sentences(WENT_ON_NEW(epoch=initial), _numbers(evidence))
    effect = evidence.get("jump")
    metric = "loss" if effect is not None else None
    return Finding(NAME, "failed", title, evidence, ADVICE_WHOLE_MODEL(code=CODE_WHOLE_MODEL), metric, effect)


# ── within one fit ──


def _inside(facts: Facts) -> Finding | None:
    kept = [v for v in facts.trace.header.optimizer_variables if v.role in ("slot", "average")]
    for found in returns(facts.trace) if kept else []:
        changed = left_behind(facts.trace, found)
        if not changed:
            continue
        logged = {e.epoch: e.logs.get("loss") for e in facts.epochs}
        ends = found.end and found.to_end and found.to_epoch is not None
        before, after = (logged.get((found.to_epoch or 0) + 1), logged.get(found.epoch + 1)) if ends else (None, None)
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
        title = PUT_BACK(
            callback=found.callback,
            part=found.part,
            to=found.to_epoch,
            to_end=found.to_end,
            version=found.to_version,
            at_end=found.end,
            epoch=found.epoch,
            before=before if both else None,
            after=after,
        )
        effect = abs(float(after) - float(before)) if both else None  # type: ignore[arg-type]
        advice = ADVICE_IN_A_CALLBACK(code=CODE_IN_A_CALLBACK)
        return Finding(NAME, "failed", title, evidence, advice, "loss" if both else None, effect)
    return None


def _state(of: Start | OptimizerState) -> dict[str, Any]:
    return {k: getattr(of, k) for k in ("iterations", "learning_rate", "slots", "same") if hasattr(of, k)}


def _advice(previous: Previous, lost: list[str]) -> Said:
    if lost == ["learning_rate"]:
        return ADVICE_RATE(code=f"model.optimizer.learning_rate = {previous.then.learning_rate!r}")
    if previous.epoch == 0:
        return ADVICE_COMPILE(code=CODE_COMPILE)
    return ADVICE_WHOLE_MODEL(code=CODE_WHOLE_MODEL)
