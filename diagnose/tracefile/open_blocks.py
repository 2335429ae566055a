"""Steps and states on their way into the file: up to 64 that follow each other are one row, because most of what a row
costs is the same for one and for many. Knows the columns, not the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import Value
from diagnose.tracefile.model import Digest

Ids = npt.NDArray[np.int32]
Insert = Callable[..., None]
"""Puts a row into a table (`TraceStore.insert`)."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one step took, as columns. `ids` of its rows, int32 of shape (n,)."""

    signature: int | None
    ids: Ids
    sample_weight: Digest | None
    whole: bytes
    missing: str | None
    layout: str | None


@dataclass(slots=True)
class _Steps:
    """Steps of one epoch that are alike in all that a block says once."""

    step: int
    epoch: int
    batch_index: int
    alike: tuple[object, ...]
    rows: int
    took: Took
    count: int = 0
    short: bool = False
    """The last one has fewer rows: none can follow it."""
    ids: list[bytes] = field(default_factory=list)
    weights: list[Digest] = field(default_factory=list)
    whole: list[bytes] = field(default_factory=list)
    marks: bytearray = field(default_factory=bytearray)
    metrics: list[bytes] = field(default_factory=list)
    width: int | None = None
    after: bytes | None = None
    generators: list[Digest] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def row(self) -> tuple[Value, ...]:
        took = self.took
        return (
            self.step, self.epoch, self.batch_index, self.count, took.signature, b"".join(self.ids), self.rows,
            b"".join(self.weights), b"".join(self.whole), took.missing, took.layout, bytes(self.marks),
            b"".join(self.metrics), b"".join(self.generators), np.array(self.seconds, "<f8").tobytes(),
        )  # fmt: skip


class OpenSteps:
    """The block of steps that is being filled."""

    def __init__(self, insert: Insert) -> None:
        self._insert = insert
        self._block: _Steps | None = None
        self.nbytes = 0
        """At most so many bytes wait."""

    def add(
        self, step: int, epoch: int, batch_index: int, took: Took, before: bytes | None, after: bytes | None,
        generator: Digest | None, seconds: float,
    ) -> None:  # fmt: skip
        """One more step. Raises ValueError where its metric states are of two lengths."""
        _check_lengths(before, after)
        block = self._following(step, epoch, batch_index, took, before, after)
        block.count += 1
        block.short = len(took.ids) < block.rows
        block.ids.append(took.ids.tobytes())
        if took.sample_weight is not None:
            block.weights.append(took.sample_weight)
        block.whole.append(took.whole)
        mark = 0
        if before is not None:
            if before == block.after:
                mark = fmt.AS_AFTER
            else:
                mark = fmt.BEFORE
                block.metrics.append(before)
        if after is not None:
            mark |= fmt.AFTER
            block.metrics.append(after)
        if generator is not None:
            mark |= fmt.GENERATOR
            block.generators.append(generator)
        block.marks.append(mark)
        block.after = after
        block.seconds.append(seconds)
        self.nbytes += 64 + 4 * len(took.ids) + len(took.whole) + len(before or b"") + len(after or b"")
        if block.count >= fmt.BLOCK_STEPS or self.nbytes >= fmt.WAITING_BYTES:
            self.flush()

    def _following(
        self, step: int, epoch: int, batch_index: int, took: Took, before: bytes | None, after: bytes | None
    ) -> _Steps:
        """The block that this step goes on with: the open one where it can."""
        block = self._block
        alike = (took.signature, took.sample_weight is None, len(took.whole), took.missing, took.layout)
        width = None if before is None and after is None else len(before if after is None else after)  # type: ignore[arg-type]
        if (
            block is None
            or block.short
            or (step, epoch, batch_index) != (block.step + block.count, block.epoch, block.batch_index + block.count)
            or alike != block.alike
            or not (len(took.ids) == block.rows or 0 < len(took.ids) < block.rows)
            or (width is not None and block.width is not None and width != block.width)
        ):
            self.flush()
            block = self._block = _Steps(step, epoch, batch_index, alike, len(took.ids), took)
        block.width = block.width if width is None else width
        return block

    def add_many(
        self, step: int, epoch: int, batch_index: int, count: int, took: Took, rows: int, weights: Sequence[Digest],
        before: bytes | None, after: bytes | None, generator: Digest | None, seconds: float,
    ) -> None:  # fmt: skip
        """So many steps that took `rows` rows each of those in `took`, the last what is left. `before` and `generator`
        are those of the first, `after` those of the last. Raises ValueError as `add` does."""
        _check_lengths(before, after)
        self.flush()
        most = min(fmt.BLOCK_STEPS, max(1, fmt.WAITING_BYTES // (took.ids.itemsize * max(1, rows))))
        for start in range(0, count, most):
            number = min(most, count - start)
            marks, metrics = bytearray(number), b""
            if start == 0 and before is not None:
                marks[0], metrics = fmt.BEFORE, before
            if start == 0 and generator is not None:
                marks[0] |= fmt.GENERATOR
            if start + number == count and after is not None:
                marks[-1] |= fmt.AFTER
                metrics += after
            self._insert(
                fmt.STEPS, step + start, epoch, batch_index + start, number, took.signature,
                took.ids[start * rows : (start + number) * rows].tobytes(), rows,
                b"".join(weights[start : start + number]), took.whole, took.missing, took.layout, bytes(marks), metrics,
                generator if generator is not None and start == 0 else b"", np.full(number, seconds, "<f8").tobytes(),
            )  # fmt: skip

    def flush(self) -> None:
        """Writes what waits."""
        block = self.drop()
        if block is not None:
            self._insert(fmt.STEPS, *block.row())

    def drop(self) -> _Steps | None:
        """Forgets what waits."""
        block, self._block, self.nbytes = self._block, None, 0
        return block


def _check_lengths(before: bytes | None, after: bytes | None) -> None:
    if before is not None and after is not None and len(before) != len(after):
        raise ValueError("the metrics of a step are of another length after it than before")


@dataclass(slots=True)
class _States:
    version: int
    label: str
    width: int
    groups: list[bytes] = field(default_factory=list)
    arrays: list[bytes] = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)


class OpenStates:
    """The block of states that is being filled: versions that follow each other, without the optimizer's."""

    def __init__(self, insert: Insert) -> None:
        self._insert = insert
        self._block: _States | None = None
        self.nbytes = 0

    def add(
        self, version: int | None, label: str, groups: bytes, optimizer: Digest | None, arrays: bytes,
        optimizer_arrays: bytes | None, kept: bool,
    ) -> None:  # fmt: skip
        """One more state."""
        if version is None or optimizer is not None or optimizer_arrays is not None:
            self.flush()
            self._insert(fmt.STATES, version, 1, label, groups, optimizer, arrays, optimizer_arrays, bytes([kept]))
            return
        block = self._block
        if (
            block is None
            or version != block.version + len(block.kept)
            or (label, len(arrays)) != (block.label, block.width)
        ):
            self.flush()
            block = self._block = _States(version, label, len(arrays))
        block.groups.append(groups)
        block.arrays.append(arrays)
        block.kept.append(kept)
        self.nbytes += 128 + len(arrays)
        if len(block.kept) >= fmt.BLOCK_STEPS or self.nbytes >= fmt.WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        block = self.drop()
        if block is not None:
            self._insert(
                fmt.STATES, block.version, len(block.kept), block.label, b"".join(block.groups), None,
                b"".join(block.arrays), None, bytes(block.kept),
            )  # fmt: skip

    def drop(self) -> _States | None:
        """Forgets what waits."""
        block, self._block, self.nbytes = self._block, None, 0
        return block
