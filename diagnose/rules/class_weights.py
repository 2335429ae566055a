"""Rule `class-weights`: class or sample weights count in fit and not in evaluate (keras#5616, PR#8591)."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.size import largest, material
from diagnose.tracefile.model import Batch

NAME = "class-weights"

MOST_CLASSES = 20
"""Up to so many labels are listed with their weights."""

NO_STEPS = Text("class-weights.no-steps", "No steps were recorded.")
NONE = Text("class-weights.none", "Fit got no class weights and no sample weights.")
NO_METRIC = Text("class-weights.no-metric", "No metric could be replayed.")
GIVEN = Text(
    "class-weights.given",
    "{which:select(both=class weights and sample weights|class_weight=class weights|sample_weight=sample weights|"
    "sample weights of the training data)}",
)
NO_DIFFERENCE = Text("class-weights.no-difference", "The {given} make no difference to any metric.")
SMALL = Text(
    "class-weights.small",
    "The {given} count in fit and not in evaluate, but they move {metric} by only {amount:number}.",
)
OF_LABEL = Text("class-weights.of-label", "{label}: {weight:number}")
FAILED = Text(
    "class-weights.failed",
    "The {given}{labels:given( ({labels:list}))}{lowest:given( ({lowest:number} to {highest:number}))} count in fit "
    "and not in evaluate: {amount:+.6g} of the difference between {metric} {logged:number} (logged for epoch {epoch}) "
    "and {evaluated:number} (evaluated) comes from that.",
)
ADVICE = Text(
    "class-weights.advice",
    """\
To compare, give evaluate the weights that fit got:

{code:python}

and the same for validation, `validation_data=(x_val, y_val, sample_weight_val)`. Metrics that are to count the weights
are compiled as `weighted_metrics=[…]`; those in `metrics=[…]` never do.
""",
)
ADVICE_BY_LABEL = Text(
    "class-weights.advice-by-label",
    """\
To compare, give evaluate the weights that fit got:

{code:python}

and the same for validation, `validation_data=(x_val, y_val, sample_weight_val)`: `class_weight` never reaches it.
Metrics that are to count the weights are compiled as `weighted_metrics=[…]`; those in `metrics=[…]` never do.
""",
)


def check(facts: Facts) -> Finding:
    """Fails where the ledger puts a material part of a gap down to weights of samples."""
    if not facts.trace.steps and facts.trace.unrecorded:
        return not_applicable(NAME, NO_STEPS())
    if not any(step.batch.sample_weight is not None for step in facts.trace.steps):
        return not_applicable(NAME, NONE())
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    if not facts.ledgers:
        return not_applicable(NAME, NO_METRIC())
    given = _given(facts)
    found = largest(facts, "class-weights")
    if found is None:
        return Finding(NAME, "passed", NO_DIFFERENCE(given=given), {"given": given}, "")
    ledger, entry = found
    weights = _weights(facts, ledger.epoch)
    by_label = _by_label(facts, ledger.epoch)
    evidence: dict[str, Any] = {
        "given": given,
        "metric": ledger.metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "evaluated": ledger.evaluated,
        "amount": entry.amount,
        "low": entry.low,
        "high": entry.high,
        "residual": ledger.residual,
        "weights": weights,
        "weight_by_label": {str(k): v for k, v in by_label.items()},
    }
    if not material(facts, ledger, entry.amount):
        title = SMALL(given=given, metric=ledger.metric, amount=abs(entry.amount))
        return Finding(NAME, "passed", title, evidence, "", ledger.metric, abs(entry.amount))
    spread = {} if by_label or weights is None else weights
    title = FAILED(
        given=given,
        labels=[OF_LABEL(label=label, weight=weight) for label, weight in by_label.items()],
        lowest=spread.get("lowest"),
        highest=spread.get("highest"),
        amount=entry.amount,
        metric=ledger.metric,
        logged=ledger.logged,
        epoch=ledger.epoch,
        evaluated=ledger.evaluated,
    )
    return Finding(NAME, "failed", title, evidence, _advice(by_label), ledger.metric, abs(entry.amount))


def _given(facts: Facts) -> Said:
    arguments = facts.trace.header.fit.arguments
    names = [n for n in ("class_weight", "sample_weight") if getattr(arguments, n)]
    return GIVEN(which="both" if len(names) > 1 else names[0] if names else "data")


def _batches(facts: Facts, epoch: int) -> list[Batch]:
    found = []
    with contextlib.suppress(ReplayError):
        found = [facts.trace.batch(step.batch) for step in facts.trace.index.steps_of(epoch)]
    return found


def _weights(facts: Facts, epoch: int) -> dict[str, float] | None:
    arrays = [np.ravel(b.sample_weight) for b in _batches(facts, epoch) if isinstance(b.sample_weight, np.ndarray)]
    if not arrays:
        return None
    joined = np.concatenate(arrays).astype(np.float64)
    return {"lowest": float(joined.min()), "highest": float(joined.max()), "mean": float(joined.mean())}


def _by_label(facts: Facts, epoch: int) -> dict[int, float]:
    """Each label's weight, where every row of a label has the same one; else empty."""
    found: dict[int, float] = {}
    for batch in _batches(facts, epoch):
        labels, weights = _labels(batch.y), batch.sample_weight
        if labels is None or not isinstance(weights, np.ndarray) or weights.size != labels.size:
            return {}
        for label, weight in zip(labels.tolist(), np.ravel(weights).tolist(), strict=True):
            if found.setdefault(int(label), weight) != weight or len(found) > MOST_CLASSES:
                return {}
    return dict(sorted(found.items())) if len(set(found.values())) > 1 else {}


def _labels(y: Any) -> np.ndarray[Any, Any] | None:
    """One whole number per row: the labels themselves, or the place of the one in one-hot labels."""
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "biuf" or not 1 <= y.ndim <= 2:
        return None
    if y.ndim == 2 and y.shape[1] > 1:
        one_hot = bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1))
        return y.argmax(axis=1) if one_hot else None
    labels = np.ravel(y)
    return labels if bool(np.all(labels == np.floor(labels))) else None


def _short(weights: dict[int, float]) -> dict[int, float]:
    return {label: float(f"{weight:.6g}") for label, weight in weights.items()}


def _advice(by_label: dict[int, float]) -> Said:
    if not by_label:
        return ADVICE(code="model.evaluate(x, y, sample_weight=sample_weight)")
    code = f"""\
class_weight = {_short(by_label)!r}
labels = np.ravel(y) if np.ndim(y) == 1 or np.shape(y)[-1] == 1 else np.argmax(y, axis=-1)
sample_weight = np.array([class_weight[int(label)] for label in labels])
model.evaluate(x, y, sample_weight=sample_weight)"""
    return ADVICE_BY_LABEL(code=code)
