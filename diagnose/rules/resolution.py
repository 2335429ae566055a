"""How fine the data lets a metric be: a count of rows moves by whole rows."""

from __future__ import annotations

from typing import Final

from diagnose.decide.better import HIGHER_FUNCTIONS
from diagnose.rules.facts import Facts
from diagnose.tracefile.model import Step

ROWS: Final = 2
"""Rows by which a count has to differ before the difference is a finding."""


def resolution(facts: Facts, metric: str, epoch: int) -> float:
    """The amount up to which a share of rows is the same, by the rows of an epoch; 0 for what is no share of rows."""
    counts = any(
        m.name == metric and (m.function in HIGHER_FUNCTIONS or m.class_name.endswith("Accuracy"))
        for m in facts.trace.header.metrics or ()
    )
    if not counts:
        return 0.0
    rows = sum(_rows(step) for step in facts.trace.index.steps_of(epoch))
    return ROWS / rows if rows else 0.0


def _rows(step: Step) -> int:
    return len(step.batch.row_ids)
