"""What is too small, or goes the wrong way, to be a finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diagnose import rules
from diagnose.result.diagnosis import Finding, Ledger
from diagnose.rules.size import material, resolution
from tests.rules.runs import fit


@pytest.fixture(scope="module")
def facts() -> Any:
    """Of a fit of 64 rows with an accuracy."""
    return facts_of()


def facts_of(**arguments: Any) -> Any:
    seen: list[Any] = []

    def look(facts: Any) -> Finding:
        seen.append(facts)
        return Finding("no-restore", "passed", "", {}, "")

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(rules.RULES, "no-restore", look)
        fit(epochs=1, **arguments)
    return seen[0]


def ledger(metric: str, logged: float, evaluated: float, residual: float = 0.0) -> Ledger:
    return Ledger(1, metric, logged, evaluated, evaluated - logged, (), residual)


def test_two_rows_are_the_resolution_of_a_share_of_rows(facts: Any) -> None:
    assert (resolution(facts, "accuracy"), resolution(facts, "val_accuracy"), resolution(facts, "loss")) == (
        2 / 64,
        2 / 64,
        0.0,
    )


def test_two_rows_of_validation_are_the_resolution_of_its_values() -> None:
    found = facts_of(validation_split=0.25)
    assert (resolution(found, "accuracy"), resolution(found, "val_accuracy")) == (2 / 48, 2 / 16)


@pytest.mark.parametrize(
    ("metric", "logged", "evaluated", "amount", "matters"),
    [
        ("accuracy", 0.5, 0.75, 0.25, True),
        ("accuracy", 0.5, 0.75, float(np.float32(2 / 64)), True),  # two rows
        ("accuracy", 0.5, 0.75, 1.5 / 64, False),  # a row and a half
        ("accuracy", 0.5, 0.5 + 1.5 / 64, 0.25, False),  # the gap itself is less than two rows
        ("loss", 0.5, 0.5, 0.25, False),  # no gap
        ("loss", 0.5, 0.75, -0.25, False),  # against it
        ("loss", 0.5, 0.75, 0.25, True),
        ("loss", 0.5, 0.75, 0.007, False),  # under one in a hundred
        ("loss", 0.5, float("nan"), 0.25, False),
    ],
)
def test_what_matters(facts: Any, metric: str, logged: float, evaluated: float, amount: float, matters: bool) -> None:
    assert material(facts, ledger(metric, logged, evaluated), amount) is matters
    assert not material(facts, ledger(metric, logged, evaluated, residual=amount), amount)
