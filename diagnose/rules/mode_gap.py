"""What the three rules on training mode share: one factor of the ledger, the layers behind it, and how large it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diagnose.result.diagnosis import Finding, Ledger, LedgerEntry
from diagnose.rules.common import largest, material, not_applicable, number, scale
from diagnose.rules.facts import Facts
from diagnose.tracefile.about import Layer


@dataclass(frozen=True, slots=True)
class Gap:
    """The largest amount of one factor that matters, and the layers of that kind."""

    ledger: Ledger
    entry: LedgerEntry
    layers: tuple[Layer, ...]

    @property
    def evidence(self) -> dict[str, Any]:
        return {
            "metric": self.ledger.metric,
            "epoch": self.ledger.epoch,
            "logged": self.ledger.logged,
            "evaluated": self.ledger.evaluated,
            "amount": self.entry.amount,
            "low": self.entry.low,
            "high": self.entry.high,
            "residual": self.ledger.residual,
            "layers": [x.name for x in self.layers],
        }

    @property
    def numbers(self) -> str:
        """Logged, evaluated, and how much of the way from one to the other is this factor's."""
        ledger = self.ledger
        return (
            f"fit logged {ledger.metric} {number(ledger.logged)} for epoch {ledger.epoch}, evaluate gives "
            f"{number(ledger.evaluated)}: {signed(self.entry.amount)} is from"
        )


def signed(amount: float) -> str:
    """A number with its sign."""
    return f"{'+' if amount > 0 else ''}{number(amount)}"


def named(layers: tuple[Layer, ...]) -> str:
    """The first layers by name, in quotes."""
    shown = ", ".join(f"'{x.name}'" for x in layers[:4])
    return f"{shown} and {len(layers) - 4} more" if len(layers) > 4 else shown


def find_gap(facts: Facts, rule: str, factor: str, kind: str) -> Gap | Finding:
    """The gap to judge, or the finding that there is none.

    Args:
        kind: what the layers are called in a sentence, for example "batch normalization layer".
    """
    layers = tuple(x for x in facts.trace.header.model.layers if x.kind == factor)
    if not layers:
        return not_applicable(rule, f"The model has no {kind}.")
    evidence = {"layers": [x.name for x in layers]}
    if not facts.epochs:
        return not_applicable(rule, "No epoch was finished.", evidence)
    if not facts.ledgers:
        reason = facts.no_replay or "no logged value could be replayed"
        return not_applicable(rule, f"Not measured, because replay was not possible: {reason}.", evidence)
    found = largest(facts, factor)
    if found is None:
        return not_applicable(rule, f"No value was replayed with each {kind} in inference mode.", evidence)
    gaps = [
        Gap(ledger, entry, layers)
        for ledger in facts.ledgers
        for entry in ledger.entries
        if entry.factor == factor and not math.isnan(entry.amount) and material(ledger, entry.amount)
    ]
    if gaps:
        return max(gaps, key=lambda gap: abs(gap.entry.amount) / scale(gap.ledger))
    gap = Gap(*found, layers)
    title = (
        f"{named(layers)}: no more than {number(abs(gap.entry.amount))} of the gap in {gap.ledger.metric} is theirs."
    )
    return Finding(rule, "passed", title, gap.evidence, "", gap.ledger.metric, abs(gap.entry.amount))
