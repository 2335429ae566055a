"""What the three rules on training mode share: one factor of the ledger, the layers behind it, and how large it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diagnose.result.diagnosis import Finding, Ledger, LedgerEntry
from diagnose.result.texts import Said, Text
from diagnose.rules.common import FIRST_NAMES, NO_EPOCH, NOT_MEASURED, largest, material, not_applicable, scale
from diagnose.rules.facts import Facts
from diagnose.rules.resolution import resolution
from diagnose.tracefile.about import Layer

NO_LAYER = Text(
    "mode-gap.no-layer",
    "The model has no {factor:select(dropout=dropout or noise layer|batch-norm=batch normalization layer|"
    "augmentation=random preprocessing layer)}.",
)
NO_LEDGER = Text("mode-gap.no-ledger", "no logged value could be replayed")
NOT_IN_INFERENCE = Text(
    "mode-gap.not-in-inference",
    "No value was replayed with each {factor:select(dropout=dropout or noise layer|batch-norm=batch normalization "
    "layer|augmentation=random preprocessing layer)} in inference mode.",
)
SMALL = Text("mode-gap.small", "{layers}: no more than {amount:number} of the gap in {metric} is theirs.")


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
    def said(self) -> dict[str, Any]:
        """Parameters of a sentence: logged, evaluated, how much of the way from one to the other is this factor's, and
        whose it is."""
        ledger = self.ledger
        return {
            "metric": ledger.metric,
            "logged": ledger.logged,
            "epoch": ledger.epoch,
            "evaluated": ledger.evaluated,
            "amount": self.entry.amount,
            "layers": named(self.layers),
        }


def named(layers: tuple[Layer, ...]) -> Said:
    """The first layers by name, in quotes."""
    return FIRST_NAMES(names=[str(x.name) for x in layers[:4]], more=len(layers) - 4 if len(layers) > 4 else None)


def find_gap(facts: Facts, rule: str, factor: str) -> Gap | Finding:
    """The gap to judge, or the finding that there is none."""
    layers = tuple(x for x in facts.trace.header.model.layers if x.kind == factor)
    if not layers:
        return not_applicable(rule, NO_LAYER(factor=factor))
    evidence = {"layers": [x.name for x in layers]}
    if not facts.epochs:
        return not_applicable(rule, NO_EPOCH(), evidence)
    if not facts.ledgers:
        reason = facts.measured.no_replay or NO_LEDGER()
        return not_applicable(rule, NOT_MEASURED(reason=reason), evidence)
    found = largest(facts, factor)
    if found is None:
        return not_applicable(rule, NOT_IN_INFERENCE(factor=factor), evidence)
    gaps = [
        Gap(ledger, entry, layers)
        for ledger in facts.ledgers
        for entry in ledger.entries
        if entry.factor == factor
        and not math.isnan(entry.amount)
        and material(ledger, entry.amount)
        and abs(entry.amount) > resolution(facts, ledger.metric, ledger.epoch)
    ]
    if gaps:
        return max(gaps, key=lambda gap: abs(gap.entry.amount) / scale(gap.ledger))
    gap = Gap(*found, layers)
    title = SMALL(layers=named(layers), amount=abs(gap.entry.amount), metric=gap.ledger.metric)
    return Finding(rule, "passed", title, gap.evidence, "", gap.ledger.metric, abs(gap.entry.amount))
