"""Which rows a pass over the data went over, and what can be proven when passes differ. For the rules about data.

Rows are known by content, so another row may be another part of the data, or the same row, augmented anew. What tells
them apart is how rows come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from diagnose.result.texts import Said, Text
from diagnose.tracefile.format import MOST_KNOWN_ROWS
from diagnose.tracefile.model import BatchRef
from diagnose.tracefile.reader import Trace

Rows = npt.NDArray[np.int64]

NO_VALIDATION = Text("passes.no-validation", "validation batches were not recorded")
NOT_RECORDED = Text("passes.not-recorded", "rows were not recorded: {reason}")
IN_ONE_PIECE = Text("passes.in-one-piece", "batches without rows (ragged, sparse or text) are kept in one piece")
OTHER_FORMS = Text("passes.other-forms", "batches are not all of one form, so rows cannot be compared")
TOO_MANY = Text("passes.too-many", "there are more rows than are told apart")

_MOST_CELLS: Final = 20_000_000
_TRIED_ROWS: Final = 64
_FRESH_ROWS: Final = 20


def training_passes(trace: Trace) -> list[Rows] | Said:
    """Row ids of each finished epoch, in order, or the reason why they are not known."""
    return _passes([[step.batch for step in trace.index.steps_of(e.epoch)] for e in trace.epochs])


def validation_passes(trace: Trace) -> list[Rows] | Said:
    """Row ids of each validation pass, in order, or the reason why they are not known."""
    if any(e.batches is None for e in trace.evaluations):
        return NO_VALIDATION()
    return _passes([list(trace.batches(e.batches)) for e in trace.evaluations if e.batches is not None])


def _passes(passes: Sequence[Sequence[BatchRef]]) -> list[Rows] | Said:
    for batch in (b for batches in passes for b in batches):
        if batch.missing is not None:
            return NOT_RECORDED(reason=str(batch.missing))
        if batch.whole:
            return IN_ONE_PIECE()
    if len({b.signature for batches in passes for b in batches}) > 1:
        return OTHER_FORMS()
    found = [np.concatenate([np.empty(0, np.int64), *(b.row_ids for b in batches)]) for batches in passes]
    if any(rows.size and (rows.min() < 0 or rows.max() >= MOST_KNOWN_ROWS) for rows in found):
        return TOO_MANY()
    return found


def distinct(passes: Sequence[Rows]) -> Rows:
    """The rows of all passes, each once."""
    return np.unique(np.concatenate(passes)) if passes else np.empty(0, np.int64)


def pool(passes: Sequence[Rows]) -> int:
    """How many rows the passes have between them, each as often as in the pass that has it most often."""
    most: dict[int, int] = {}
    for rows in passes:
        found, counts = np.unique(rows, return_counts=True)
        for row, count in zip(found.tolist(), counts.tolist(), strict=True):
            most[row] = max(count, most.get(row, 0))
    return sum(most.values())


def same_rows(passes: Sequence[Rows]) -> bool:
    """Whether all passes hold the same rows, each as often, in whatever order."""
    first = np.sort(passes[0])
    return all(len(rows) == len(first) and bool(np.array_equal(np.sort(rows), first)) for rows in passes[1:])


def in_rounds(passes: Sequence[Rows]) -> bool:
    """Whether the passes, one after the other, go round one fixed set of rows: every row came once before any came
    again, and this in every round. What is drawn or augmented anew each time does not do that."""
    stream = np.concatenate(passes)
    size = len(np.unique(stream))
    if size == len(stream) or size - len(passes[0]) < _FRESH_ROWS:
        return False
    rounds = [stream[start : start + size] for start in range(0, len(stream), size)]
    return all(len(np.unique(rows)) == len(rows) for rows in rounds)


def not_variants(passes: Sequence[Rows]) -> bool:
    """Whether it is impossible that every pass holds the same data, each row in one of several variants (a random
    flip in the input pipeline, say).

    If it did, and no row comes twice in a pass: (1) rows with a single variant are those in every pass, and at least
    2 * (rows of a pass) - (rows of all passes) are of that kind; (2) wherever a row is missing, a variant of it is in
    its place, which shares no pass with it. One violation is a proof.
    """
    size = len(passes[0])
    if any(len(rows) != size or len(np.unique(rows)) != size for rows in passes):
        return False
    known = distinct(passes)
    if len(known) * len(passes) > _MOST_CELLS:
        return False
    present = np.array([np.isin(known, rows) for rows in passes])  # (passes, rows)
    if int(present.all(axis=0).sum()) < 2 * size - len(known):
        return True
    tried = np.flatnonzero(~present.all(axis=0))[:_TRIED_ROWS]
    cells = present.astype(np.float32)
    apart = cells[:, tried].T @ cells == 0  # (tried, rows): never in the same pass
    filled = apart.astype(np.float32) @ cells.T > 0  # (tried, passes): something can be in the row's place
    return bool((~filled & ~present[:, tried].T).any())
