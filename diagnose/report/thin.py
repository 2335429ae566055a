"""What of a very large diagnosis is drawn: a page is for people, and a forged file must not keep one busy. Says what is
left out; `diagnosis.json` has everything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from diagnose.result.diagnosis import Diagnosis, Finding, Ledger, LedgerEntry, LossPart, LossSplit
from diagnose.result.texts import Text

MOST_METRICS: Final = 40
MOST_FINDINGS: Final = 150
MOST_LEDGERS: Final = 300
MOST_ENTRIES: Final = 40
MOST_ROWS: Final = 100
"""Policies, saved files, calls, notes, replay errors and libraries, of each."""
MOST_EVIDENCE: Final = 40

_T = TypeVar("_T")

SHOWN = Text(
    "thin.shown",
    "Of {count:,} {what:select(metrics=metrics|ledgers=ledgers|findings=findings|saved files=saved files|"
    "calls=calls|libraries=libraries|replay errors=replay errors|notes=notes|policies=policies|"
    "notes on policies=notes on policies)}, {most} are shown here; diagnosis.json has them all.",
)
LEFT_OUT = Text("thin.left-out", "{count:plural(## more value|## more values)}, in diagnosis.json")
MORE_FACTORS = Text("thin.more-factors", "{count:,} more factors")


def thinned(d: Diagnosis) -> tuple[Diagnosis, tuple[str, ...]]:
    """The diagnosis with as much as is drawn, and sentences that say what is left out; epochs are the tables' own
    affair."""
    cut = _Cut()
    names = dict.fromkeys(name for row in d.epoch_rows for part in (row.logged, row.reevaluated) for name in part)
    metrics = cut.items("metrics", _first(names, d.key_metric or "loss"), MOST_METRICS)
    rows = d.epoch_rows
    if len(metrics) < len(names):
        kept = set(metrics)
        rows = tuple(
            replace(
                r,
                logged=_only(r.logged, kept),
                reevaluated=_only(r.reevaluated, kept),
                clocks={name: clock for name, clock in r.clocks.items() if name in kept},
            )
            for r in rows
        )
    failed_first = sorted(d.findings, key=lambda f: f.status != "failed")
    ledgers = cut.items("ledgers", _key_first(d), MOST_LEDGERS)
    thin = replace(
        d,
        epoch_rows=rows,
        findings=tuple(_finding(f) for f in cut.items("findings", failed_first, MOST_FINDINGS)),
        ledgers=tuple(_ledger(ledger) for ledger in ledgers),
        saved=tuple(cut.items("saved files", d.saved, MOST_ROWS)),
        calls=tuple(cut.items("calls", d.calls, MOST_ROWS)),
        environment=dict(cut.items("libraries", list(d.environment.items()), MOST_ROWS)),
    )
    if d.replay is not None:
        errors = dict(cut.items("replay errors", list(d.replay.max_abs_error.items()), MOST_ROWS))
        thin = replace(thin, replay=replace(d.replay, max_abs_error=errors))
    if d.restoration is not None:
        notes = tuple(cut.items("notes", d.restoration.notes, MOST_ROWS))
        thin = replace(thin, restoration=replace(d.restoration, notes=notes))
    if d.policies is not None:
        policies = tuple(cut.items("policies", d.policies.rows, MOST_ROWS))
        notes = tuple(cut.items("notes on policies", d.policies.notes, MOST_ROWS))
        thin = replace(thin, policies=replace(d.policies, rows=policies, notes=notes))
    return thin, tuple(cut.said)


class _Cut:
    """Cuts lists, and remembers which."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def items(self, what: str, found: Sequence[_T], most: int) -> Sequence[_T]:
        if len(found) <= most:
            return found
        self.said.append(SHOWN.say(count=len(found), what=what, most=most))
        return found[:most]


def _first(names: Iterable[str], first: str) -> list[str]:
    return sorted(names, key=lambda name: name not in (first, "loss"))


def _only(values: Mapping[str, float], kept: set[str]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in kept}


def _key_first(d: Diagnosis) -> Sequence[Ledger]:
    """All ledgers; where only some are shown, those of the metric and the epochs that are drawn first."""
    if len(d.ledgers) <= MOST_LEDGERS:
        return d.ledgers
    r = d.restoration
    key = (d.key_metric or "loss").removeprefix("val_")
    epochs = () if r is None else (r.best_epoch, r.restored_epoch)
    return sorted(d.ledgers, key=lambda ledger: (ledger.metric != key, ledger.epoch not in epochs))


def _finding(f: Finding) -> Finding:
    if len(f.evidence) <= MOST_EVIDENCE:
        return f
    shown = dict(list(f.evidence.items())[:MOST_EVIDENCE])
    return replace(f, evidence={**shown, "left out": LEFT_OUT(count=len(f.evidence) - MOST_EVIDENCE)})


def _ledger(ledger: Ledger) -> Ledger:
    split = ledger.split
    if split is not None:
        split = LossSplit(_part(split.data), _part(split.penalties))
    return replace(ledger, entries=_entries(ledger.entries), split=split)


def _part(part: LossPart) -> LossPart:
    return replace(part, entries=_entries(part.entries))


def _entries(entries: tuple[LedgerEntry, ...]) -> tuple[LedgerEntry, ...]:
    """Those beyond the most stand in one row with their sum, so that the amounts shown still add up."""
    if len(entries) <= MOST_ENTRIES:
        return entries
    rest = entries[MOST_ENTRIES:]
    low, amount, high = (math.fsum(values) for values in zip(*((e.low, e.amount, e.high) for e in rest), strict=True))
    return (*entries[:MOST_ENTRIES], LedgerEntry(MORE_FACTORS(count=len(rest)), amount, low, high))
