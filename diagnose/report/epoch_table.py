"""The table of epochs as finished texts: for each metric what was logged, what re-evaluation gave, and at which
versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diagnose.report.restoration_view import BEST_LOGGED, HELD
from diagnose.result.diagnosis import Diagnosis, EpochRow
from diagnose.result.text import ABSENT, compact, exact, printable, span, spell
from diagnose.result.texts import Text

LOGGED = Text("epochs.logged", "logged")
SAME_WEIGHTS = Text("epochs.same-weights", "{versions} (same weights)")
REEVALUATED = Text("epochs.reevaluated", "re-evaluated")
BEST_REEVALUATED = Text("marks.best-reevaluated", "best re-evaluated")

MOST_ROWS = 400
"""Longer tables leave out rows that nothing points at."""
_COLUMN_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    exact: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A metric: `parts` are the names of its cells, `logged` and, where some epoch has it, `re-evaluated`."""

    metric: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EpochTableRow:
    epoch: int
    computed_at: str
    ends_at: str
    cells: tuple[Cell, ...]
    learning_rate: Cell | None
    analysed: bool
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EpochTable:
    columns: tuple[Column, ...]
    rows: tuple[EpochTableRow, ...]
    has_learning_rate: bool
    left_out: int

    @property
    def has_reevaluated(self) -> bool:
        return any(len(column.parts) > 1 for column in self.columns)

    @property
    def has_validation(self) -> bool:
        return any(column.metric.startswith("val_") for column in self.columns)

    @property
    def has_analysed(self) -> bool:
        return any(row.analysed for row in self.rows)


def build_epochs(diagnosis: Diagnosis) -> EpochTable:
    """All epochs, or, of more than `MOST_ROWS`, those that matter and every so many-th of the others."""
    rows = diagnosis.epoch_rows
    logged = list(dict.fromkeys(name for row in rows for name in row.logged if name != "learning_rate"))
    extra = [name for row in rows for name in row.reevaluated if name not in logged]
    names = sorted([*logged, *dict.fromkeys(extra)], key=lambda name: name.startswith("val_"))
    again = {name for row in rows for name in row.reevaluated}
    marks = _marks(diagnosis)
    kept = _thin(rows, marks)
    has_rate = any(row.learning_rate is not None for row in rows)
    texts = {name: _pairs(kept, name) for name in names}
    rates = spell((row.learning_rate for row in kept), 3)
    return EpochTable(
        columns=tuple(
            Column(printable(name), (LOGGED.say(), REEVALUATED.say()) if name in again else (LOGGED.say(),))
            for name in names
        ),
        rows=tuple(
            EpochTableRow(
                epoch=row.epoch,
                computed_at=_computed_at(row),
                ends_at=str(row.last_version),
                cells=tuple(cell for name in names for cell in texts[name][index][: 2 if name in again else 1]),
                learning_rate=_rate(row, rates[index]) if has_rate else None,
                analysed=row.analysed,
                marks=tuple(marks.get(row.epoch, ())),
            )
            for index, row in enumerate(kept)
        ),
        has_learning_rate=has_rate,
        left_out=len(rows) - len(kept),
    )


def _rate(row: EpochRow, text: str) -> Cell:
    if row.learning_rate is None:
        return Cell(ABSENT)
    return Cell(compact(row.learning_rate, 4) if float(compact(row.learning_rate, 4)) == row.learning_rate else text)


def _computed_at(row: EpochRow) -> str:
    at = row.trained_at
    if at is None or row.trained is None:
        return ABSENT
    text = span(at.first, at.last)
    return SAME_WEIGHTS.say(versions=text) if at.first < at.last and row.trained.same_weights else text


def _marks(diagnosis: Diagnosis) -> dict[int, list[str]]:
    marks: dict[int, list[str]] = {}
    r = diagnosis.restoration
    if r is not None:
        held, logged = HELD.say(restored=r.put_back), BEST_LOGGED.say()
        best = None if r.best_by_reevaluation is None else r.best_by_reevaluation.epoch
        for epoch, word in ((r.best_epoch, logged), (r.restored_epoch, held), (best, BEST_REEVALUATED.say())):
            if epoch is not None:
                marks.setdefault(epoch, []).append(word)
    return marks


def _thin(rows: tuple[EpochRow, ...], marks: Iterable[int]) -> list[EpochRow]:
    if len(rows) <= MOST_ROWS:
        return list(rows)
    marked = set(marks)
    stride = -(-len(rows) // (MOST_ROWS // 2))
    last = len(rows) - 1
    chosen = [row for i, row in enumerate(rows) if i % stride == 0 or i == last or row.epoch in marked or row.analysed]
    return chosen[:MOST_ROWS] if len(chosen) > MOST_ROWS else chosen


def _pairs(rows: list[EpochRow], name: str) -> list[tuple[Cell, Cell]]:
    """Logged and re-evaluated of each row. The column shares its digits; a pair gets more where it needs them to
    differ."""
    values = [value for row in rows for value in (row.logged.get(name), row.reevaluated.get(name))]
    shared = spell(values, most=_COLUMN_DIGITS)
    pairs = []
    for index in range(len(rows)):
        logged, again = values[2 * index : 2 * index + 2]
        texts = shared[2 * index : 2 * index + 2]
        if texts[0] == texts[1] and logged != again:
            texts = spell([logged, again])
        pairs.append((Cell(texts[0], exact(logged)), Cell(texts[1], exact(again))))
    return pairs
