"""The table of stopping policies as finished texts. Decides nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diagnose.result.diagnosis import Policies, PolicyRow
from diagnose.result.text import ABSENT, clip, exact, number, printable, spell, width
from diagnose.result.texts import Text, say

COLUMNS = 100

BEST = Text("policies.best", "In hindsight, epoch {epoch} was the best: {metric} {value}.")
OWN_NUMBER = Text(
    "policies.own-number",
    "Own number: the policy's value in the epoch it chose. Optimism: own number minus the {metric} of the model held, "
    "where both are the same metric.",
)
AT_THE_END = Text("policies.at-the-end", "at the end")
THE_END = Text("policies.the-end", "the end")
THIS_RUN = Text("policies.this-run", "this run")
JUDGED_BY = Text("policies.judged-by", "judged by {metric}")
NOT_ANSWERABLE = Text("policies.not-answerable", "Not answerable ({reason}): {labels}.")
WENT_BY = Text("policies.went-by", "* what this run went by")
POLICY = Text("policies.head.policy", "policy")
HEADS = (
    Text("policies.head.stops", "stops\nafter"),
    Text("policies.head.holds", "holds\nepoch"),
    Text("policies.head.number", "own\nnumber"),
    Text("policies.head.held", "model\nheld"),
    Text("policies.head.optimism", "optimism"),
    Text("policies.head.saved", "time\nsaved"),
)
"""Heads of the columns in a terminal, each in up to two lines."""


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
        best = BEST.say(epoch=table.best_epoch, metric=table.metric, value=number(table.best_value))
    notes = [say(note) for note in table.notes]
    if any(row.optimism is not None for row in answered):
        notes.insert(0, OWN_NUMBER.say(metric=table.metric))
    return PoliciesView(
        printable(table.metric), tuple(lines), None if best is None else printable(best), tuple(map(printable, notes))
    )


def _line(row: PolicyRow, value: str) -> PolicyLine:
    stops = AT_THE_END.say() if row.stopped_epoch is None else str(row.stopped_epoch)
    return PolicyLine(
        label=printable(say(row.label)),
        policy=printable(row.policy),
        marks=THIS_RUN.say() if row.own else "",
        reason=None if row.reason is None else printable(say(row.reason)),
        stops=ABSENT if row.reason is not None else stops,
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
    rows = [(f"* {r.label}" if r.marks else r.label, _cells(r)) for r in view.rows if r.reason is None]
    yield JUDGED_BY.say(metric=view.metric)
    if rows:
        words = [[*head.say().split("\n"), ""][:2] for head in HEADS]
        sizes = [1 + max(6, *map(width, words[i]), *(width(cells[i]) for _, cells in rows)) for i in range(len(HEADS))]
        wide = min(COLUMNS - sum(sizes), max(width(label) for label, _ in rows))
        yield _row("", [word[0] for word in words], wide, sizes).rstrip()
        yield _row(POLICY.say(), [word[1] for word in words], wide, sizes).rstrip()
        for label, cells in rows:
            yield _row(label, cells, wide, sizes)
    for reason in dict.fromkeys(row.reason for row in view.rows if row.reason is not None):
        labels = "; ".join(row.label for row in view.rows if row.reason == reason)
        text = NOT_ANSWERABLE.say(reason=reason, labels=labels)
        yield from textwrap.wrap(text, COLUMNS, subsequent_indent="  ")
    if any(label.startswith("* ") for label, _ in rows):
        yield WENT_BY.say()
    for text in (*([] if view.best is None else [view.best]), *view.notes):
        yield from textwrap.wrap(text, COLUMNS)


def _cells(row: PolicyLine) -> tuple[str, ...]:
    cells = (row.stops, row.held, row.number, row.value, row.optimism, row.saved)
    end = AT_THE_END.say()
    return tuple(THE_END.say() if c == end else "-" if c == ABSENT else c for c in cells)


def _row(label: str, cells: Sequence[str], wide: int, sizes: list[int]) -> str:
    label = label if width(label) <= wide else clip(label, wide - 2).rstrip("…") + "..."
    padded = label + " " * (wide - width(label))
    return padded + "".join(f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
