"""What several rules need: findings that do not apply, sentences, and the timing part of a ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding, Ledger
from diagnose.result.texts import Said, Text
from diagnose.rules.facts import Facts

TIMING = ("weights-lag", "weights-drift")

MATERIAL = 0.01
"""Share of a metric's value below which a factor's amount is not worth a finding."""

NO_EPOCH = Text("no-epoch", "No epoch was finished.")
NO_STOPPING = Text("no-early-stopping", "No EarlyStopping in this fit.")
NOT_WATCHED = Text("nothing-watched", "No callback of Keras watches a logged value.")
NOT_END = Text("no-end", "The fit did not reach its end.")
NOT_MEASURED = Text("not-measured", "Not measured, because replay was not possible: {reason}.")
NOT_REPLAYED = Text("not-replayed", "'{metric}' could not be replayed.")
NAN_ONLY = Text("nan-only", "{callback} saw '{monitor}' as NaN only, so no epoch was the best.")
NO_VERSION = Text("no-version", "The weights after fit are no version of training, so they are of no epoch.")
FIRST_NAMES = Text("first-names", "{names:quoted}{more:given( and {more} more|)}")
ITS_CODE = Text("recognised-by.code", "its code")


def not_applicable(rule: str, reason: str, evidence: Mapping[str, Any] | None = None) -> Finding:
    """A finding for a rule that cannot be applied to this run, with the reason as its title."""
    return Finding(rule, "not-applicable", reason, dict(evidence or {}), "")


def timing(ledger: Ledger) -> float:
    """The part of a gap that comes from when weights were updated."""
    return math.fsum(e.amount for e in ledger.entries if e.factor in TIMING)


def rests_on_training(facts: Facts) -> list[Watcher] | None:
    """The decisions that rest on training values; [] where nothing decides and the log is all there is; None where
    everything that decides (or can be read beside the log) comes from validation passes."""
    found = facts.training_decisions()
    if found:
        return found
    if facts.decisions or facts.validated:
        return None
    return []


def metric_in_question(facts: Facts, decisions: list[Watcher]) -> str:
    """The metric the finding is about: that of the first decision, else loss."""
    for d in decisions:
        if any(d.monitor in e.logs for e in facts.epochs):
            return d.monitor
    return "loss"


DECIDES = Text("decides", "It is what decides here: {who:list}.")
DECIDER = Text(
    "decider",
    "{callback} ({kind:select(early-stopping=early-stopping|checkpoint=checkpoint|threshold=threshold|"
    "own-restore=own-restore)}, '{monitor}')",
)


def consequence(decisions: list[Watcher]) -> Said | None:
    """Who relies on the value, as a sentence; None where nothing is known to."""
    if not decisions:
        return None
    return DECIDES(who=sorted({DECIDER(callback=d.callback, kind=d.kind, monitor=d.monitor) for d in decisions}))
