"""The script's own number that is farthest from what fit logged over such rows, as a sentence. Measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from diagnose.result.calls import Call, CallEntry, OwnLine, Scored
from diagnose.result.diagnosis import Finding, LedgerEntry
from diagnose.result.texts import Said, Text
from diagnose.rules.facts import Facts
from diagnose.rules.size import surprise

Entry = TypeVar("Entry", LedgerEntry, CallEntry)

NEAR = 0.05
"""Share of a value within which nobody asks why another one is not the same."""

CAUSE = Text(
    "headline.cause",
    "{factor:select(weights-lag=each batch was scored before its own update|weights-drift=the weights moved on within "
    "the epoch|restored-weights=the model after fit holds other weights|dropout=dropout or noise is active in fit only|"
    "batch-norm=batch normalisation uses batch statistics in fit only|augmentation=augmentation is active in fit only|"
    "other-training-mode=a layer or the model's own step does something else in training|stateful=a stateful layer "
    "goes on from where fit left it|class-weights=samples are weighted otherwise|data-coverage=fit and evaluate went "
    "over different rows|aggregation=the metric depends on how rows are batched|batching=the metric depends on how "
    "rows are batched|other-rows=these are other rows|rows-changed=the inputs are not as fit had them|"
    "other-weights=the model held other weights|other-compile=it was compiled otherwise|loss-changed=the loss itself "
    "is another function by then)} ({amount:+.4g})",
)
_WHERE = (
    "{file}:{line}: {call} {returned:given(returned|made predictions that give)} {metric} {value:number} where fit "
    "logged {logged:number} for epoch {epoch}"
)
OWN = Text(
    "headline.own",
    f"{_WHERE}{{causes:given(, mostly because {{causes:and}}|, and nothing that was measured explains it)}}.",
)
UNPROVEN = Text(
    "headline.own-unproven",
    f"{_WHERE}. Why is not known: {{why:select(steps={{reproduced}} of {{steps:plural(# step|# steps)}} of that epoch "
    "came out as recorded|value=replay does not give what was returned|random=replay draws other random numbers "
    "than it did|ledger=it was not taken apart)}.",
)
UNEXPLAINED = Text(
    "headline.own-unexplained",
    f"{_WHERE}. Most of the difference is not explained: replay leaves {{residual:signed}}, more than any cause that "
    "was found.",
)
SLIP = Text(
    "headline.slip",
    "{file}:{at}: {how}. By the labels that fit had for these rows, what {call} gave has {metric} {right:number}.",
)
PAIRS = Text(
    "headline.slip-pairs",
    "predictions of shape {predictions} and labels of shape {labels} are compared as they are, which makes all "
    "pairs of them and gives {value:number}",
)
FIRST = Text("headline.slip-first", "argmax of a single column is class 0 for every row, and gives {value:number}")
IN_ORDER = Text(
    "headline.slip-in-order",
    "these rows come in another order than fit was given them, and the labels in fit's, which gives {value:number}",
)
EVERY = Text(
    "headline.slip-every-step",
    "all {count:,} steps count here, {left_out:,} that the model's mask leaves out among them: {value:number}; "
    "evaluate counts the others only",
)
SOME = Text(
    "headline.slip-some-steps",
    "some of the {count:,} steps count here, but evaluate counts all, {left_out:,} of padding among them; without "
    "those it is {value:number}",
)
LOG_LOSS = Text(
    "headline.log-loss",
    "{file}:{at}: a plain log loss of what {call} gave is {plain:number}. The compiled loss, which fit logs and "
    "evaluate returns, {smoothing:given(is of labels smoothed by {smoothing:number}, )}{penalties:given({smoothing:"
    "given(and |)}holds {penalties:number} of penalties, )}and gives {compiled:number} for the same rows.",
)
THEN = Text("headline.own-then", "{own} {then}")


def own_number(facts: Facts, findings: Sequence[Finding]) -> Said | None:
    """None where the script made no call over such rows, or each agrees with the log. Calls after the fit go before
    those at the end of an epoch; a finding about the call says it better than its ledger."""
    found = [
        ((call.epoch is None, call.residual is not None, size), call)
        for call in facts.calls
        if (call.epoch is None or call.epoch == call.ends_epoch) and (size := surprise(facts, call)) and _seen(call)
    ]
    if not found:
        return None
    call = max(found, key=lambda x: x[0])[1]
    told = next((f for f in findings if f.status == "failed" and is_about(f, call)), None)
    changed = any(f.rule == "loss-changed" and f.status == "failed" for f in findings) and call.metric.endswith("loss")
    if changed and not call.entries and call.residual:  # the same weights and rows, by another loss
        return _sentence(facts, replace(call, entries=(CallEntry("loss-changed", call.residual),), residual=0.0))
    if told is not None and isinstance(told.title, Said):
        return told.title
    return _sentence(facts, call, any(f.rule == "random-evaluate" and f.status == "failed" for f in findings))


def _seen(call: Call) -> bool:
    """Whether the script may hold its value against the log: of predictions, where they are for all of the rows."""
    return bool(call.returned) or (call.rows is not None and call.rows.count == call.rows.known)


def slip(facts: Facts) -> Said | None:
    """Where lines of the script score its predictions otherwise than row by row, or than the compiled loss does, and
    that gives another number; of the last call after the fit of which the source shows it. None where none does."""
    for call in reversed(facts.calls):
        scored = call.scored
        if scored is None or call.epoch is not None:
            continue
        for line in scored.lines or ():
            said = _slipped(call, scored, line)
            if said is not None:
                return said
    return None


def _slipped(call: Call, scored: Scored, line: OwnLine) -> Said | None:
    metric, right = next(iter(scored.values.items()))
    place = {"file": call.file, "at": line.line, "call": call.call}
    log_loss, steps, how = scored.log_loss, scored.steps, None
    if line.does == "log-loss" and log_loss is not None and _far(log_loss.plain, log_loss.compiled):
        parts = {"smoothing": log_loss.smoothing or None, "penalties": log_loss.penalties or None}
        return LOG_LOSS(**place, plain=log_loss.plain, compiled=log_loss.compiled, **parts)
    if line.does == "pairs" and scored.pairs is not None and _far(scored.pairs, right):
        shapes = {"predictions": str(tuple(scored.predictions)), "labels": str(tuple(scored.labels))}
        how = PAIRS(value=scored.pairs, **shapes)
    elif line.does == "first" and scored.first is not None and _far(scored.first, right):
        how = FIRST(value=scored.first)
    elif line.does == "in-order" and scored.in_order is not None and _far(scored.in_order, right):
        how = IN_ORDER(value=scored.in_order)
    elif line.does == "every-step" and steps is not None and steps.counted is False and _far(steps.every, right):
        how = EVERY(count=steps.count, left_out=steps.left_out, value=steps.every) if steps.by == "mask" else None
    elif line.does == "some-steps" and steps is not None and steps.counted and _far(steps.real, right):
        how = SOME(count=steps.count, left_out=steps.left_out, value=steps.real)
    return None if how is None else SLIP(**place, how=how, metric=metric, right=right)


def _far(value: float, right: float) -> bool:
    return abs(value - right) > NEAR * abs(right)


def is_about(finding: Finding, call: Call) -> bool:
    """Whether a finding is about this call of the script."""
    return (finding.evidence.get("file"), finding.evidence.get("line")) == (call.file, call.line)


def _sentence(facts: Facts, call: Call, drawn: bool = False) -> Said:
    """`drawn`: whether evaluate is seen to draw random numbers."""
    compared = call.compared_with
    assert compared is not None
    said = {
        "file": call.file,
        "line": call.line,
        "call": call.call,
        "returned": bool(call.returned),
        "metric": call.metric,
        "value": call.value,
        "logged": compared.logged,
        "epoch": compared.epoch,
    }
    replayed = facts.measured.replayed.get(compared.epoch)
    steps = {"steps": None, "reproduced": None} if replayed is None else {
        "steps": replayed.steps, "reproduced": replayed.reproduced
    }  # fmt: skip
    if compared.metric == call.metric and replayed is not None and replayed.reproduced < replayed.steps:
        return UNPROVEN(**said, **steps, why="steps")  # a value of training rests on them
    if call.residual is None or not math.isfinite(call.residual):
        unlike = "random" if drawn else "value"
        return UNPROVEN(**said, **steps, why=unlike if call.reproduced is False else "ledger")
    found = largest(call.entries, call.residual, (call.value or 0.0) - compared.logged)
    if not found and call.entries:
        return UNEXPLAINED(**said, residual=call.residual)
    return OWN(**said, causes=causes(facts, found))


def largest(entries: Sequence[Entry], residual: float, gap: float) -> list[Entry]:
    """The two largest causes. One that is smaller than what replay cannot explain is none that is proven, and what
    moves the value the other way is no cause of a gap."""
    proven = [e for e in entries if abs(e.amount) > abs(residual) and e.amount * gap > 0.0]
    return sorted(proven, key=lambda e: -abs(e.amount))[:2]


def causes(facts: Facts, entries: Sequence[LedgerEntry | CallEntry]) -> list[Said]:
    """Each as a clause."""
    carried = {"other-training-mode": "stateful"} if facts.measured.from_zero_state else {}
    return [CAUSE(factor=carried.get(e.factor, e.factor), amount=e.amount) for e in entries]
