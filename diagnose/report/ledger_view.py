"""Ledgers as rows of a waterfall, and which of them are drawn. The amounts come finished; only running values are
added up here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from diagnose.result.diagnosis import Diagnosis, Ledger
from diagnose.result.text import compact, exact, number, printable, spell
from diagnose.result.texts import Said, Text, say

MOST_LEDGERS = 4
"""Waterfalls drawn per fit; the rest stand in the table of ledgers."""

FACTOR = Text(
    "factor",
    "{factor:select(weights-lag=weights lag|weights-drift=weights drift|restored-weights=restored weights|"
    "dropout=dropout|batch-norm=batch norm|augmentation=augmentation|other-training-mode=other training mode|"
    "class-weights=class weights|data-coverage=data coverage|aggregation=aggregation|other-rows=other rows|"
    "rows-changed=changed rows|batching=other batches|other-weights=other weights|other-compile=other compile|{name})}",
)
RESIDUAL = Text("factor.residual", "residual")
LOGGED = Text("ledger.logged", "logged, epoch {epoch}")
EVALUATED = Text("ledger.evaluated", "evaluated")
TITLE = Text("ledger.title", "{metric}, epoch {epoch}: {logged} logged, {evaluated} evaluated, gap {gap}")
NO_LEDGER = Text(
    "ledger.none",
    "{metric}, epoch {epoch}: {logged} logged, {evaluated} evaluated: what is not finite has no gap to take apart",
)
DATA_LOSS = Text("ledger.data-loss", "data loss in loss")
PENALTIES = Text("ledger.penalties", "penalties in loss")


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One row of a waterfall: where the running value stands before and after, and the range of the amount over the
    orders."""

    label: str
    kind: Literal["logged", "factor", "residual", "evaluated"]
    amount: float
    start: float
    end: float
    low: float
    high: float
    text: str
    low_text: str
    high_text: str
    exact: str

    @property
    def has_range(self) -> bool:
        """Whether the amount depends on the order of the walk."""
        return self.kind == "factor" and self.low_text != self.high_text


@dataclass(frozen=True, slots=True)
class LedgerView:
    epoch: int
    metric: str
    title: str
    rows: tuple[LedgerRow, ...]


def build_ledgers(d: Diagnosis) -> tuple[tuple[LedgerView, ...], tuple[LedgerView, ...]]:
    """Those drawn: of the key metric, the epochs that matter first if there are many; and all others, in order."""
    key = d.key_metric or "loss"
    names = {ledger.metric for ledger in d.ledgers}
    metric = key if key in names else key.removeprefix("val_")
    if metric not in names and d.ledgers:
        metric = d.ledgers[0].metric
    r = d.restoration
    wanted = [] if r is None else [r.best_epoch, r.restored_epoch]
    of_key = [ledger for ledger in d.ledgers if ledger.metric == metric]
    ranked = sorted(of_key, key=lambda x: (x.epoch not in wanted, -x.epoch))[:MOST_LEDGERS]
    drawn = sorted(ranked, key=lambda x: x.epoch)
    others = [ledger for ledger in d.ledgers if not any(ledger is one for one in drawn)]
    parts = [part for ledger in d.ledgers for part in _parts(ledger)]
    return tuple(map(ledger_view, drawn)), tuple(map(ledger_view, [*others, *parts]))


def _parts(ledger: Ledger) -> list[Ledger]:
    """The two parts of a loss with penalties, as ledgers of their own. They carry replayed values to replayed values,
    so there is no residual but rounding."""
    if ledger.split is None:
        return []
    found = []
    for name, part in ((DATA_LOSS.say(), ledger.split.data), (PENALTIES.say(), ledger.split.penalties)):
        gap = part.evaluated - part.logged
        left = math.fsum([gap, *(-e.amount for e in part.entries)])
        found.append(Ledger(ledger.epoch, name, part.logged, part.evaluated, gap, part.entries, left))
    return found


def ledger_view(ledger: Ledger) -> LedgerView:
    """The rows of one waterfall: logged, the factors, the residual, evaluated."""
    texts = spell([ledger.logged, ledger.evaluated])
    if not (math.isfinite(ledger.logged) and math.isfinite(ledger.evaluated)):
        both = [
            _end_row("logged", LOGGED.say(epoch=ledger.epoch), ledger.logged, texts[0]),
            _end_row("evaluated", EVALUATED.say(), ledger.evaluated, texts[1]),
        ]
        metric = printable(ledger.metric)
        title = NO_LEDGER.say(metric=metric, epoch=ledger.epoch, logged=texts[0], evaluated=texts[1])
        return LedgerView(ledger.epoch, metric, title, tuple(both))
    rows = [_end_row("logged", LOGGED.say(epoch=ledger.epoch), ledger.logged, texts[0])]
    running = ledger.logged
    items: list[tuple[str, Literal["factor", "residual"], float, float, float]] = [
        (factor_name(e.factor), "factor", e.amount, e.low, e.high) for e in ledger.entries
    ]
    items.append((RESIDUAL.say(), "residual", ledger.residual, ledger.residual, ledger.residual))
    for label, kind, amount, low, high in items:
        ends = (number(low, 3, sign=True), number(high, 3, sign=True)) if kind == "factor" else ("", "")
        end = running + amount
        rows.append(
            LedgerRow(label, kind, amount, running, end, low, high, _amount(amount, kind), *ends, exact(amount))
        )
        running = end
    rows.append(_end_row("evaluated", EVALUATED.say(), ledger.evaluated, texts[1]))
    gap = number(ledger.gap, sign=True)
    title = TITLE.say(metric=printable(ledger.metric), epoch=ledger.epoch, logged=texts[0], evaluated=texts[1], gap=gap)
    return LedgerView(ledger.epoch, printable(ledger.metric), title, tuple(rows))


def factor_name(factor: str) -> str:
    """A factor for people."""
    if isinstance(factor, Said):
        return printable(say(factor))
    return FACTOR.say(factor=factor, name=printable(factor).replace("-", " "))


def _amount(amount: float, kind: str) -> str:
    return compact(amount, 3, sign=True) if kind == "residual" else number(amount, sign=True)


def _end_row(kind: Literal["logged", "evaluated"], label: str, value: float, text: str) -> LedgerRow:
    return LedgerRow(label, kind, value, value, value, value, value, text, "", "", exact(value))
