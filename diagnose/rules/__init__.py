"""The rules, in the order they run. One file each; each judges measurements and measures nothing itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding, Role
from diagnose.result.texts import Text
from diagnose.rules import (
    augmentation_gap,
    batch_averaged_metric,
    batch_norm_gap,
    checkpoint_best_kept,
    checkpoint_on_training_metric,
    class_weights,
    constant_monitor,
    dropout_gap,
    ema_order,
    evaluate_inside_epoch,
    file_overwritten,
    frozen_after_compile,
    inputs_on_another_scale,
    loaded_model_differs,
    loss_changed,
    loss_says_nothing,
    masked_metric,
    metric_after_update,
    metric_mismatch,
    metric_never_reset,
    metric_never_updated,
    missing_monitor,
    moving_average_of_weights,
    no_restore,
    not_finite,
    one_step_epoch,
    optimizer_not_restored,
    partial_batch_weight,
    partial_epoch,
    patience_conflict,
    penalty_in_loss,
    preprocessing_differs,
    random_evaluate,
    reshuffled_split,
    restored_is_not_best,
    running_mean_batch_logs,
    schedule_restarts,
    split_tail,
    stale_best,
    state_carried,
    stopped_inside_epoch,
    threshold_on_training_metric,
    trained_on_validation,
    two_bests,
    unadapted_normalization,
    validation_changes,
    wrong_direction,
)
from diagnose.rules.facts import Facts
from diagnose.rules.severity import severity
from diagnose.rules.size import weight

NOT_LOOKED_AT = Text("rule.not-looked-at", "This could not be looked at: {reason}.")
NO_NUMBERS = Text("rule.no-numbers", "{metric} is NaN or infinite, so there is nothing to measure.")
CRASHED = Text("rule.crashed", "This rule could not be applied: {error}: {message}")

Rule = Callable[[Facts], Finding]

RULES: Final[dict[str, Rule]] = {
    "threshold-on-training-metric": threshold_on_training_metric.check,
    "one-step-epoch": one_step_epoch.check,
    "moving-average-of-weights": moving_average_of_weights.check,
    "checkpoint-on-training-metric": checkpoint_on_training_metric.check,
    "running-mean-batch-logs": running_mean_batch_logs.check,
    "evaluate-inside-epoch": evaluate_inside_epoch.check,
    "stopped-inside-epoch": stopped_inside_epoch.check,
    "metric-after-update": metric_after_update.check,
    "no-restore": no_restore.check,
    "stale-best": stale_best.check,
    "checkpoint-best-kept": checkpoint_best_kept.check,
    "wrong-direction": wrong_direction.check,
    "patience-conflict": patience_conflict.check,
    "missing-monitor": missing_monitor.check,
    "not-finite": not_finite.check,
    "restored-is-not-best": restored_is_not_best.check,
    "two-bests": two_bests.check,
    "optimizer-not-restored": optimizer_not_restored.check,
    "schedule-restarts": schedule_restarts.check,
    "ema-order": ema_order.check,
    "batch-norm-gap": batch_norm_gap.check,
    "dropout-gap": dropout_gap.check,
    "augmentation-gap": augmentation_gap.check,
    "frozen-after-compile": frozen_after_compile.check,
    "state-carried": state_carried.check,
    "unadapted-normalization": unadapted_normalization.check,
    "class-weights": class_weights.check,
    "penalty-in-loss": penalty_in_loss.check,
    "loss-changed": loss_changed.check,
    "batch-averaged-metric": batch_averaged_metric.check,
    "partial-batch-weight": partial_batch_weight.check,
    "masked-metric": masked_metric.check,
    "partial-epoch": partial_epoch.check,
    "split-tail": split_tail.check,
    "reshuffled-split": reshuffled_split.check,
    "trained-on-validation": trained_on_validation.check,
    "metric-mismatch": metric_mismatch.check,
    "random-evaluate": random_evaluate.check,
    "loss-says-nothing": loss_says_nothing.check,
    "constant-monitor": constant_monitor.check,
    "validation-changes": validation_changes.check,
    "file-overwritten": file_overwritten.check,
    "metric-never-reset": metric_never_reset.check,
    "metric-never-updated": metric_never_updated.check,
    "preprocessing-differs": preprocessing_differs.check,
    "inputs-on-another-scale": inputs_on_another_scale.check,
    "loaded-model-differs": loaded_model_differs.check,
}


ROLES: Final[dict[str, Role]] = {
    "threshold-on-training-metric": "explains-stop",
    "one-step-epoch": "explains-gap",
    "moving-average-of-weights": "explains-gap",
    "batch-norm-gap": "explains-gap",
    "dropout-gap": "explains-gap",
    "augmentation-gap": "explains-gap",
    "not-finite": "explains-gap",
    "stale-best": "explains-restoration",
    "wrong-direction": "explains-restoration",
    "missing-monitor": "explains-restoration",
    "loss-changed": "explains-restoration",
    "trained-on-validation": "spoils-values",
    "random-evaluate": "spoils-values",
    "loss-says-nothing": "spoils-values",
    "metric-never-updated": "spoils-values",
}
"""What the findings of a rule do for other parts of the report, by which those know them."""


def run_rule(name: str, facts: Facts) -> Finding:
    """What one rule finds; not applicable where it crashes, with the reason. Nothing is measured by, and nothing passes
    on, a ledger whose ends are not finite."""
    finite = tuple(x for x in facts.ledgers if math.isfinite(x.logged) and math.isfinite(x.evaluated))
    lost = {x.metric for x in facts.ledgers} - {x.metric for x in finite}
    try:
        found = RULES[name](replace(facts, ledgers=finite))
        metric = found.metric or found.evidence.get("metric")
        if found.status != "failed" and metric in lost:
            found = Finding(name, "not-applicable", NO_NUMBERS(metric=metric), dict(found.evidence), "")
        found = replace(found, severity=severity(facts, found))
    except ReplayError as error:
        found = Finding(name, "not-applicable", NOT_LOOKED_AT(reason=str(error)), {}, "")
    except Exception as error:
        title = CRASHED(error=type(error).__name__, message=str(error))
        found = Finding(name, "not-applicable", title, {"error": type(error).__name__}, "")
    return replace(found, role=found.role or ROLES.get(name))


def run_rules(facts: Facts) -> tuple[Finding, ...]:
    """All findings: failed ones first, what is wrong before what is notable, each by the size of its effect relative to
    the gap. A rule that crashes is reported as not applicable; the others run."""
    order = {"failed": 0, "not-applicable": 1, "passed": 2}
    found = [run_rule(name, facts) for name in RULES]
    return tuple(sorted(found, key=lambda f: (order[f.status], f.severity == "notable", -weight(facts, f))))
