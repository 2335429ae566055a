"""What a failed finding asks of its reader: *wrong* (the model, a file or a decision is not what the script takes it
for) or *notable* (it explains a gap between two numbers; nothing has to be repaired)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from diagnose.decide.better import best
from diagnose.decide.kept import kept_epoch
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding, Severity
from diagnose.rules.facts import Facts
from diagnose.rules.size import resolution

Judge = Callable[[Facts, Finding], Severity]

MOSTLY_INITIAL = 0.5
"""Share of its initial value with which a moving average is not yet that of the data."""

_SAME = 1e-6
"""Share of a value within which two evaluations of the same weights agree."""


def severity(facts: Facts, finding: Finding) -> Severity | None:
    """None unless the rule failed; else what the rule itself says, or what goes for findings of this rule. A rule that
    stands nowhere here finds what is *wrong*."""
    if finding.status != "failed":
        return None
    if finding.severity is not None:
        return finding.severity
    judge = _JUDGES.get(finding.rule)
    return "wrong" if judge is None else judge(facts, finding)


def _notable(facts: Facts, finding: Finding) -> Severity:
    return "notable"


def _by_decisions(facts: Facts, finding: Finding) -> Severity:
    """By what was decided by a value that the weights do not have: wrong unless each decision came out as it would have
    by the values that they have."""
    return "notable" if all(_kept_the_best(facts, d) for d in facts.training_decisions()) else "wrong"


def _of_checkpoint(facts: Facts, finding: Finding) -> Severity:
    found = [d for d in facts.training_decisions() if d.kind == "checkpoint"]
    return "notable" if found and _kept_the_best(facts, found[0]) else "wrong"


def _where_watched(facts: Facts, finding: Finding) -> Severity:
    """By whether anything was decided by the metric."""
    metric = (finding.metric or "").removeprefix("val_")
    return "wrong" if any(d.monitor.removeprefix("val_") == metric for d in facts.decisions) else "notable"


def _where_kept(facts: Facts, finding: Finding) -> Severity:
    """By whether the epoch in question is one that something was kept or stopped for."""
    epoch = finding.evidence.get("epoch")
    stopped = [d for d in facts.training_decisions() if d.kind == "threshold"]
    kept = {kept_epoch(facts.trace, d) for d in facts.training_decisions() if d.kind != "threshold"}
    return "wrong" if stopped or epoch in kept else "notable"


def _of_young_statistics(facts: Facts, finding: Finding) -> Severity:
    """With statistics that are mostly what they were initialized with, the model is not the one that was trained."""
    return "wrong" if (finding.evidence.get("initial_share") or 0.0) > MOSTLY_INITIAL else "notable"


def _of_restored(facts: Facts, finding: Finding) -> Severity:
    return "notable" if _holds_the_best(facts) else "wrong"


_JUDGES: Final[dict[str, Judge]] = {
    "one-step-epoch": _by_decisions,
    "moving-average-of-weights": _by_decisions,
    "checkpoint-on-training-metric": _of_checkpoint,
    "stopped-inside-epoch": _where_kept,
    "evaluate-inside-epoch": _where_watched,
    "metric-after-update": _where_watched,
    "no-restore": _of_restored,
    "restored-is-not-best": _of_restored,
    "batch-norm-gap": _of_young_statistics,
    "dropout-gap": _notable,
    "augmentation-gap": _notable,
    "class-weights": _notable,
    "penalty-in-loss": _notable,
    "batch-averaged-metric": _where_watched,
    "partial-batch-weight": _where_watched,
    "masked-metric": _where_watched,
    "metric-never-updated": _where_watched,
    "partial-epoch": _notable,
    "loss-changed": _notable,
    "random-evaluate": _notable,
    "schedule-restarts": _notable,
}


def _kept_the_best(facts: Facts, decision: Watcher) -> bool:
    """Whether what was kept by a training value is the best by evaluation too."""
    r = facts.restoration
    if decision.kind in ("early-stopping", "own-restore"):
        own = r is not None and (r.callback, r.monitor) == (decision.callback, decision.monitor)
        return own and _holds_the_best(facts)
    if decision.kind != "checkpoint":
        return False
    values = [
        (epoch, values[decision.monitor])
        for epoch, values in facts.measured.reevaluated.items()
        if decision.monitor in values
    ]
    found, kept = best(values, decision.direction), kept_epoch(facts.trace, decision)
    value = dict(values).get(kept or 0)
    return found is not None and value is not None and _same(facts, decision.monitor, value, found[1])


def _holds_the_best(facts: Facts) -> bool:
    """Whether the model after fit has the best value of all epochs that were evaluated again."""
    r = facts.restoration
    if r is None or r.restored_value is None or r.best_by_reevaluation is None:
        return False
    return _same(facts, r.monitor, r.restored_value, r.best_by_reevaluation.value)


def _same(facts: Facts, metric: str, one: float, other: float) -> bool:
    return abs(one - other) <= max(_SAME * max(abs(one), abs(other)), resolution(facts, metric) / 2)
