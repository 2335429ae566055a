"""Rule `one-step-epoch`: with one update per epoch, the logged value belongs to the end of the epoch before
(keras#20323, #8578)."""

from __future__ import annotations

from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import (
    NO_EPOCH,
    NOT_REPLAYED,
    consequence,
    metric_in_question,
    not_applicable,
    rests_on_training,
    timing,
)
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import deciding_call
from diagnose.tracefile.model import Epoch

NAME = "one-step-epoch"

MORE_STEPS = Text(
    "one-step-epoch.more-steps", "The value of an epoch is not of one set of weights, scored before its only update."
)
NOT_PROVEN = Text("one-step-epoch.not-proven", "Not proven, because replay was not possible: {reason}.")
NOT_DECIDED = Text(
    "one-step-epoch.not-decided", "Each logged training value is one update old, but nothing here was decided by one."
)
KEPT_OWNER = Text(
    "one-step-epoch.kept-owner",
    "Each logged training value is one update old, but the weights restored are those that produced it.",
)
NOT_REPRODUCED = Text("one-step-epoch.not-reproduced", "Replay did not reproduce every step, so no shift is claimed.")
NO_CHANGE = Text("one-step-epoch.no-change", "One update per epoch, but it did not change the value.")
FAILED = Text(
    "one-step-epoch.failed",
    "{batches:given(All {batches} batches of the epoch were scored with the same weights|One batch per epoch)}: the "
    "{metric} logged for epoch {epoch} ({logged:number}) is that of the weights before the "
    "epoch's only update; after it, it is {later:number}. {decides}",
)
ADVICE = Text(
    "one-step-epoch.advice",
    """\
Monitor a value that is computed after the update, over the data you care about.
Validation data may be the training data itself:

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where replay shows the shift and the shifted value is what the run, or its reader, goes by."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    decisions = rests_on_training(facts)
    metric = metric_in_question(facts, decisions or [])
    if not all(_of_one_update(facts, metric, e) for e in facts.epochs):
        steps = sorted(set(facts.steps_per_epoch))
        return not_applicable(NAME, MORE_STEPS(), {"steps_per_epoch": steps})
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_PROVEN(reason=facts.measured.no_replay))
    if decisions is None:
        return Finding(NAME, "passed", NOT_DECIDED(), {"decided_by": [d.monitor for d in facts.decisions]}, "")
    if _kept_its_owner(facts, decisions):
        return Finding(NAME, "passed", KEPT_OWNER(), {"decided_by": [d.monitor for d in decisions]}, "")
    ledgers = [x for x in facts.ledgers if x.metric == metric]
    if not ledgers:
        return not_applicable(NAME, NOT_REPLAYED(metric=metric), {"metric": metric})
    unproven = [e for e, c in facts.measured.replayed.items() if c.reproduced < c.steps]
    if unproven:
        return not_applicable(NAME, NOT_REPRODUCED(), {"epochs": unproven})
    best = facts.restoration.best_epoch if facts.restoration is not None else None
    ledger = next((x for x in ledgers if x.epoch == best), ledgers[-1])
    shift = timing(ledger)
    later = facts.measured.end_of_epoch.get(ledger.epoch, {}).get(metric)
    at, batches = facts.clock(metric, ledger.epoch).span, facts.clock(metric, ledger.epoch).batches or 1
    evidence = {
        "metric": metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "computed_at_version": None if at is None else at.last,
        "batches": batches,
        "one_update_later": later,
        "matches": _matches(facts, metric),
    }
    if abs(shift) <= abs(ledger.residual) or shift == 0.0:
        return Finding(NAME, "passed", NO_CHANGE(), evidence, "", metric, 0.0)
    title = FAILED(
        metric=metric,
        epoch=ledger.epoch,
        logged=ledger.logged,
        later=later,
        decides=consequence(decisions),
        batches=batches if batches > 1 else None,
    )
    size = "" if batches > 1 else "batch_size=len(x),\n          "
    code = f"""\
model.fit(x, y, epochs=..., {size}validation_data=(x, y),
          callbacks=[{deciding_call(facts, decisions)}])"""
    return Finding(NAME, "failed", title, evidence, ADVICE(code=code), metric, abs(shift))


def _of_one_update(facts: Facts, metric: str, epoch: Epoch) -> bool:
    """Whether a value is of all batches of its epoch, all scored with the same weights."""
    when, steps = facts.clock(metric, epoch.epoch), epoch.last_version - epoch.first_version
    return steps == 1 or (when.different == 1 and when.batches == steps)


def _kept_its_owner(facts: Facts, decisions: list[Watcher]) -> bool:
    """Whether the only decision on a training value is a restore that brought back the version it was computed at."""
    r = facts.restoration
    if r is None or r.verdict != "aligned" or len(decisions) != 1:
        return False
    return decisions[0].kind == "early-stopping" and decisions[0].monitor == r.monitor and r.confirmed is True


def _matches(facts: Facts, metric: str) -> list[dict[str, float]]:
    """Pairs (logged for epoch k+1, re-evaluated at the end of epoch k): equal where no other factor is at work."""
    pairs = []
    for earlier, later in zip(facts.epochs, facts.epochs[1:], strict=False):
        value = facts.measured.reevaluated.get(earlier.epoch, {}).get(metric)
        if value is not None and metric in later.logs:
            pairs.append({"epoch": later.epoch, "logged": later.logs[metric], "reevaluated_epoch_before": value})
    return pairs[:20]
