"""Writes steps that nobody looked at, an epoch's in one go: their rows are digested once. Runs on the background
thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from diagnose.record.array_source import Places, contents
from diagnose.record.at_source import CHANGED, Contents, Placed
from diagnose.record.batches import TakenBatch
from diagnose.record.budget import Tier
from diagnose.record.items import StepsItem
from diagnose.record.room import Room
from diagnose.tracefile import format as fmt
from diagnose.tracefile.model import BatchRef, Digest, NDArray
from diagnose.tracefile.rows import leaves_of
from diagnose.tracefile.writer import TraceWriter

PART_ROWS: Final = 4096
"""So many rows are taken from the arrays at a time."""

OTHERS: Final = "the arrays that fit was given have another form by now"

Ids = npt.NDArray[np.int64]
_NONE: Final = np.empty(0, np.int64)


class _Rows:
    """Of arrays as they were at one time: which of their rows the trace has."""

    __slots__ = ("contents", "digest", "ids", "signature")

    def __init__(self, found: Contents) -> None:
        self.contents = found
        self.digest = contents(found.tree) if found.live else None
        self.ids: Ids = np.full(len(leaves_of(found.tree)[0]), -1, np.int64)
        self.signature: int | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What some steps took, one row after the other."""

    signature: int | None
    ids: Ids
    weights: NDArray | None


class Blocks:
    """Remembers which rows of a fit's arrays the trace has.

    Args:
        rows: adds rows, where they are new, and refers to them.
        weights: keeps the sample weights of one batch, and gives their digest.
    """

    def __init__(
        self,
        writer: TraceWriter,
        room: Room,
        rows: Callable[[TakenBatch], BatchRef],
        weights: Callable[[NDArray], Digest],
    ) -> None:
        self._writer = writer
        self._room = room
        self._add = rows
        self._weights = weights
        self._now: _Rows | None = None

    def begin(self, found: Contents) -> None:
        """From here on steps go over these arrays."""
        self._now = _Rows(found)

    def steps(self, item: StepsItem) -> tuple[bool, Ids]:
        """Writes them, as far as there is room: whether the last was written, and the ids of the rows that those
        took."""
        known = item.rows if isinstance(item.rows, str) else self._known(*item.rows)
        done = 0
        while done < item.count:
            part = range(done, min(done + fmt.BLOCK_STEPS, item.count))
            if not self._room.open(Tier.STEPS, self._cost(item, part)):
                break
            self._write(item, part, known)
            done = part.stop
        rows = _NONE if isinstance(known, str) else known.ids[: done * item.batch_size]
        return done == item.count, rows

    def placed(self, batch: Placed) -> tuple[int | None, Ids, Digest | None] | str:
        """The signature, the row ids and the sample weights of one batch, or why they are not known."""
        known = self._known(batch.contents, batch.places)
        if isinstance(known, str):
            return known
        return known.signature, known.ids, None if known.weights is None else self._weights(known.weights)

    def _known(self, found: Contents, places: Places) -> _Taken | str:
        """The rows of these places, or why they are not known."""
        if self._now is None or self._now.contents is not found:
            self.begin(found)
        assert self._now is not None
        now = self._now
        new = places[now.ids[places] < 0]
        for start in range(0, len(new), PART_ROWS):
            part = new[start : start + PART_ROWS]
            taken = found.rows(part)
            if taken is None:
                return OTHERS
            reference = self._add(taken)
            now.ids[part], now.signature = reference.row_ids, reference.signature
        weights = found.weights(places)
        if now.digest is not None and contents(found.tree) != now.digest:
            self._now = _Rows(found)
            return CHANGED
        return _Taken(now.signature, now.ids[places], weights)

    def _cost(self, item: StepsItem, part: range) -> int:
        """Most bytes that these steps take without the contents of their rows."""
        cost = len(part) * (1024 + 48 * item.batch_size)
        if part.start == 0:
            cost += len(item.metrics_before or b"")
            cost += 0 if item.generator is None else self._room.content(item.generator.nbytes)
        if part.stop == item.count:
            cost += len(item.metrics_after or b"")
            cost += 0 if item.after is None else 512 + 32 * len(item.after.arrays)
        return cost

    def _write(self, item: StepsItem, part: range, known: _Taken | str) -> None:
        alone = len(part) if isinstance(known, str) else int(part.start == 0 and item.global_seed is not None)
        for number in part[:alone]:
            self._write_one(item, number, known)
        rest = part[alone:]
        if not rest or isinstance(known, str):
            return
        first, last = rest.start == 0, rest.stop == item.count
        assert known.signature is not None
        self._writer.steps(
            step=item.step + rest.start,
            epoch=item.epoch,
            batch_index=item.batch_index + rest.start,
            count=len(rest),
            signature=known.signature,
            row_ids=known.ids[rest.start * item.batch_size : rest.stop * item.batch_size],
            rows=item.batch_size,
            sample_weights=[] if known.weights is None else [self._weight(item, n, known.weights) for n in rest],
            layout=item.layout,
            metrics_before=item.metrics_before if first else None,
            metrics_after=item.metrics_after if last else None,
            generator=None if item.generator is None or not first else self._writer.array(item.generator),
            seconds=item.seconds,
        )

    def _write_one(self, item: StepsItem, number: int, known: _Taken | str) -> None:
        """One that is not as those after it, or of which it is not known what it took."""
        first, last = number == 0, number == item.count - 1
        self._writer.step(
            step=item.step + number,
            epoch=item.epoch,
            batch_index=item.batch_index + number,
            batch=self._batch(item, number, known),
            metrics_before=item.metrics_before if first else None,
            metrics_after=item.metrics_after if last else None,
            generator=None if item.generator is None or not first else self._writer.array(item.generator),
            seconds=item.seconds,
        )

    def _batch(self, item: StepsItem, number: int, known: _Taken | str) -> BatchRef:
        seed = item.global_seed if number == 0 else None
        layout = item.layout if seed is None else replace(item.layout, global_seed=seed)
        if isinstance(known, str):
            return BatchRef(None, _NONE, missing=known, layout=layout)
        weights = None if known.weights is None else self._weight(item, number, known.weights)
        part = slice(number * item.batch_size, (number + 1) * item.batch_size)
        return BatchRef(known.signature, known.ids[part], sample_weight=weights, layout=layout)

    def _weight(self, item: StepsItem, number: int, weights: NDArray) -> Digest:
        return self._weights(weights[number * item.batch_size : (number + 1) * item.batch_size])
