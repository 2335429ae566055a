"""The table of stopping policies as finished texts. Decides nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diagnose.result.diagnosis import Policies, PolicyRow
from diagnose.result.text import ABSENT, clip, exact, number, printable, spell, width

COLUMNS = 100


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """`marks`: what sets the row apart; `reason`: why there is nothing in the other columns."""

    label: str
    policy: str
    marks: str
    reason: str | None
    stops: str
    number: str
    number_exact: str
    held: str
    value: str
    value_exact: str
    optimism: str
    optimism_exact: str
    saved: str


@dataclass(frozen=True, slots=True)
class PoliciesView:
    metric: str
    rows: tuple[PolicyLine, ...]
    best: str | None
    notes: tuple[str, ...]


def build_policies(table: Policies) -> PoliciesView:
    """The view of a table: answered rows in their order, then those that the trace cannot answer."""
    answered = [row for row in table.rows if row.reason is None]
    values = spell((row.held_value for row in answered), most=9)
    lines = [_line(row, value) for row, value in zip(answered, values, strict=True)]
    lines += [_line(row, ABSENT) for row in table.rows if row.reason is not None]
    best = None
    if table.best_epoch is not None:
        best = f"In hindsight, epoch {table.best_epoch} was the best: {table.metric} {number(table.best_value)}."
    notes = list(table.notes)
    if any(row.optimism is not None for row in answered):
        notes.insert(
            0,
            "Own number: the policy's value in the epoch it chose. Optimism: own number minus the "
            f"{table.metric} of the model held, where both are the same metric.",
        )
    return PoliciesView(
        printable(table.metric), tuple(lines), None if best is None else printable(best), tuple(map(printable, notes))
    )


def _line(row: PolicyRow, value: str) -> PolicyLine:
    stops = ABSENT if row.reason is not None else "at the end" if row.stopped_epoch is None else str(row.stopped_epoch)
    return PolicyLine(
        label=printable(row.label),
        policy=printable(row.policy),
        marks="this run" if row.own else "",
        reason=None if row.reason is None else printable(row.reason),
        stops=stops,
        number=number(row.best_number),
        number_exact=exact(row.best_number),
        held=ABSENT if row.held_epoch is None else str(row.held_epoch),
        value=value,
        value_exact=exact(row.held_value),
        optimism=number(row.optimism, 3, sign=True),
        optimism_exact=exact(row.optimism),
        saved=ABSENT if row.time_saved is None else f"{row.time_saved:.0%}",
    )


def lines(view: PoliciesView) -> Iterator[str]:
    """The table for a terminal, at most 100 columns, plain characters only in what is ours."""
    heads = ("stops after", "holds epoch", "own number", "model held", "optimism", "time saved")
    rows = [(f"* {r.label}" if r.marks else r.label, _cells(r)) for r in view.rows if r.reason is None]
    yield f"judged by {view.metric}"
    if rows:
        words = [[*head.split(), ""][:2] for head in heads]
        sizes = [1 + max(6, *map(width, words[i]), *(width(cells[i]) for _, cells in rows)) for i in range(len(heads))]
        wide = min(COLUMNS - sum(sizes), max(width(label) for label, _ in rows))
        yield _row("", [word[0] for word in words], wide, sizes).rstrip()
        yield _row("policy", [word[1] for word in words], wide, sizes).rstrip()
        for label, cells in rows:
            yield _row(label, cells, wide, sizes)
    for reason in dict.fromkeys(row.reason for row in view.rows if row.reason is not None):
        labels = "; ".join(row.label for row in view.rows if row.reason == reason)
        yield from textwrap.wrap(f"Not answerable ({reason}): {labels}.", COLUMNS, subsequent_indent="  ")
    if any(label.startswith("* ") for label, _ in rows):
        yield "* what this run went by"
    for text in (*([] if view.best is None else [view.best]), *view.notes):
        yield from textwrap.wrap(text, COLUMNS)


def _cells(row: PolicyLine) -> tuple[str, ...]:
    cells = (row.stops, row.held, row.number, row.value, row.optimism, row.saved)
    return tuple("the end" if c == "at the end" else "-" if c == ABSENT else c for c in cells)


def _row(label: str, cells: Sequence[str], wide: int, sizes: list[int]) -> str:
    label = label if width(label) <= wide else clip(label, wide - 2).rstrip("…") + "..."
    padded = label + " " * (wide - width(label))
    return padded + "".join(f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
