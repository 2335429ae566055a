"""How large an amount must be to be worth a finding, and how amounts of different metrics compare."""

from __future__ import annotations

import math
from typing import Final

from diagnose.decide.better import HIGHER_FUNCTIONS
from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding, Ledger, LedgerEntry
from diagnose.result.texts import Said, Text
from diagnose.rules.common import MATERIAL
from diagnose.rules.facts import Facts
from diagnose.rules.passes import validation_passes
from diagnose.tracefile.reader import Trace

ALIKE = Text(
    "size.alike",
    "{metric} {one:number} {same:given(is as good as the best|and {other:number} differ by less than two rows)}.",
)
ROWS: Final = 2
"""Rows by which a count has to differ before the difference is a finding."""


def scale(ledger: Ledger) -> float:
    """The larger of the two values a ledger stands between."""
    return max(abs(ledger.logged), abs(ledger.evaluated))


def resolution(facts: Facts, metric: str) -> float:
    """The smallest difference in this metric that is one of the data: two rows for a share of rows; 0 for a metric that
    counts no rows, or where their number is not known."""
    if not facts.epochs or not counts_rows(facts.trace, metric):
        return 0.0
    passes = validation_passes(facts.trace) if metric.startswith("val_") else []
    if not isinstance(passes, str) and passes:
        return ROWS / max(1, len(passes[0]))
    steps = facts.trace.index.steps_of(facts.epochs[0].epoch)
    rows = sum(len(step.batch.row_ids) for step in steps)
    return ROWS / rows if rows else 0.0


def counts_rows(trace: Trace, metric: str) -> bool:
    """Whether a metric is a share of rows."""
    name = metric.removeprefix("val_")
    return any(
        m.name == name and (m.function in HIGHER_FUNCTIONS or m.class_name.endswith("Accuracy"))
        for m in trace.header.metrics or ()
    )


def surprise(facts: Facts, call: Call) -> float:
    """How far what a call of the script's gives is from the logged value it is compared with (`apart`); 0 where it is
    compared with none."""
    compared, value = call.compared_with, call.value
    if compared is None or value is None:
        return 0.0
    rows = None if call.rows is None else call.rows.count
    return apart(facts.trace, compared.metric, rows, value, compared.logged)


def apart(trace: Trace, metric: str, rows: int | None, value: float, logged: float) -> float:
    """The difference of two values over so many rows, as a share of the second; 0 where nobody would call them
    different: less than `MATERIAL` of them, or than two rows."""
    gap, size = abs(value - logged), max(abs(value), abs(logged))
    fine = ROWS / rows if rows and counts_rows(trace, metric) else 0.0
    if not math.isfinite(gap) or gap == 0.0 or gap < max(MATERIAL * size, _less(fine)):
        return 0.0
    return gap / max(abs(logged), 1e-12)


def alike(facts: Facts, metric: str, one: float | None, other: float | None) -> Said | None:
    """A sentence that two values of a metric are the same, or differ by less than the resolution of the data; None
    where they do not, or one is not known."""
    if one is None or other is None:
        return None
    if one == other or abs(one - other) < _less(resolution(facts, metric)):
        return ALIKE(metric=metric, one=one, other=other, same=one == other)
    return None


def material(facts: Facts, ledger: Ledger, amount: float) -> bool:
    """Whether an amount explains a gap: it is part of the way from the logged to the evaluated value, clearly more than
    the replay error, at least `MATERIAL` of the metric's value, and not less than the resolution of the data, which the
    gap is not either."""
    fine = _less(resolution(facts, ledger.metric))
    share = MATERIAL * scale(ledger)
    return (
        amount * ledger.gap > 0.0
        and abs(amount) >= max(share, fine)
        and abs(ledger.gap) >= (fine or share)
        and abs(amount) > 2 * abs(ledger.residual)
    )


def largest(facts: Facts, *factors: str) -> tuple[Ledger, LedgerEntry] | None:
    """The entry of these factors with the largest amount relative to its metric's value, with its ledger, those before
    the others that are material; None where no ledger has one, which means that none of these factors can differ in
    this run."""
    found = [(x, e) for x in facts.ledgers for e in x.entries if e.factor in factors and not math.isnan(e.amount)]
    return max(
        found,
        key=lambda pair: (material(facts, pair[0], pair[1].amount), abs(pair[1].amount) / (scale(pair[0]) or 1.0)),
        default=None,
    )


def weight(facts: Facts, finding: Finding) -> float:
    """The effect of a finding for comparison with those of other metrics: as a share of the gap it is about, else of
    the metric's value."""
    if finding.effect is None:
        return 0.0
    effect, metric = abs(finding.effect), finding.metric
    if math.isnan(effect):
        return math.inf
    epoch = finding.evidence.get("epoch")
    ledgers = [x for x in facts.ledgers if x.metric == metric]
    ledger = next((x for x in ledgers if x.epoch == epoch), max(ledgers, key=lambda x: x.epoch, default=None))
    if ledger is not None:
        return effect / (abs(ledger.gap) or scale(ledger) or 1.0)
    logged = [e.logs.get(metric) for e in facts.epochs[-1:] if metric is not None]
    value = next((abs(v) for v in logged if isinstance(v, (int, float)) and math.isfinite(v)), 0.0)
    return effect / (value or 1.0)


def _less(resolution: float) -> float:
    """A difference of exactly two rows counts, whatever float32 makes of it."""
    return resolution * (1 - 1e-4)
