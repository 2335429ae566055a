"""The rules, in the order they run. One file each; each judges measurements and measures nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from diagnose.diagnosis import Finding
from diagnose.facts import Facts
from diagnose.rules import moving_average_of_weights, no_restore, one_step_epoch, threshold_on_training_metric

Rule = Callable[[Facts], Finding]

RULES: Final[dict[str, Rule]] = {
    "threshold-on-training-metric": threshold_on_training_metric.check,
    "one-step-epoch": one_step_epoch.check,
    "moving-average-of-weights": moving_average_of_weights.check,
    "no-restore": no_restore.check,
}


def run_rules(facts: Facts) -> tuple[Finding, ...]:
    """All findings: failed ones first, by the size of their effect. A rule that crashes is reported as not
    applicable; the others run."""
    found = []
    for name, rule in RULES.items():
        try:
            found.append(rule(facts))
        except Exception as error:
            title = f"This rule could not be applied: {type(error).__name__}: {error}"
            found.append(Finding(name, "not-applicable", title, {"error": type(error).__name__}, ""))
    order = {"failed": 0, "not-applicable": 1, "passed": 2}
    return tuple(sorted(found, key=lambda f: (order[f.status], -abs(f.effect or 0.0))))
