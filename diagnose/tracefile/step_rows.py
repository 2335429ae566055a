"""Steps and states of a trace, from rows of its tables: of format 3 a row holds up to 64 of them, of older ones one.
Holds what a row says against itself; whether what it names exists is for the caller to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnose.tracefile import format as fmt
from diagnose.tracefile.bounds import Budget
from diagnose.tracefile.digest import split_digests
from diagnose.tracefile.model import BatchRef, Digest, State, Step

Row = tuple[Any, ...]
Batch = Callable[..., BatchRef]
"""Makes a reference to a batch: signature, row ids, sample weight, whole, missing, layout."""


def state_of(number: int, row: Row) -> State:
    """The state of one row, of a format before 3. Raises ValueError."""
    _, version, label, trainable, non_trainable, seeds, optimizer, arrays, optimizer_arrays, kept = row
    if (version is not None and version < 0) or kept not in (0, 1):
        raise ValueError(f"state {number} is not well formed")
    return State(
        number, version, label, trainable, non_trainable, seeds, optimizer, split_digests(arrays),
        None if optimizer_arrays is None else split_digests(optimizer_arrays), bool(kept),
    )  # fmt: skip


def states_of(number: int, row: Row, budget: Budget) -> Iterator[State]:
    """The states of one row; `number` is that of the first. Raises ValueError."""
    _, version, count, label, groups, optimizer, arrays, optimizer_arrays, kept = row
    several = count > 1 and (version is None or optimizer is not None or optimizer_arrays is not None)
    if (
        several
        or (version is not None and not 0 <= version < fmt.MOST_STEPS)
        or not 1 <= count <= fmt.BLOCK_STEPS
        or len(groups) != 48 * count
        or len(kept) != count
        or len(arrays) % (16 * count)
        or not set(kept) <= {0, 1}
    ):
        raise ValueError(f"state {number} is not well formed")
    budget.take_block(count)
    width, slots = len(arrays) // count, None if optimizer_arrays is None else split_digests(optimizer_arrays)
    for n in range(count):
        trainable, non_trainable, seeds = split_digests(groups[48 * n : 48 * n + 48])
        yield State(
            number + n, None if version is None else version + n, label, trainable, non_trainable, seeds, optimizer,
            split_digests(arrays[width * n : width * n + width]), slots, bool(kept[n]),
        )  # fmt: skip


def step_of(row: Row, columns: int, batch: Batch) -> Step:
    """The step of one row, of a format before 3, in which a batch has so many columns. Raises ValueError."""
    _, step, epoch, batch_index, computed_at, produced, *rest = row
    if min(step, epoch, batch_index, computed_at, produced) < 0:
        raise ValueError("a step has a negative number")
    before, after, generator, seconds = rest[columns:]
    signature, ids, *others = rest[:columns]
    found = batch(signature, ids_of(ids), *others)
    return Step(step, epoch, batch_index, computed_at, produced, found, before, after, generator, float(seconds))


def ids_of(data: bytes) -> npt.NDArray[np.int64]:
    """Row ids of a batch, from int64. Raises ValueError."""
    if len(data) % 8:
        raise ValueError("a batch is not well formed")
    return np.frombuffer(data, "<i8").astype(np.int64, copy=False)


def steps_of(row: Row, budget: Budget, batch: Batch) -> Iterator[Step]:
    """The steps of one row. Raises ValueError."""
    _, step, epoch, batch_index, count, signature, data, rows, weights, whole, missing, layout, marks, *rest = row
    metrics, generators, seconds = rest
    if min(step, epoch, batch_index) < 0:
        raise ValueError("a step has a negative number")
    number = len(data) // 4
    filled = number == 0 if rows == 0 else rows * (count - 1) < number <= rows * count
    if (
        not 1 <= count <= fmt.BLOCK_STEPS
        or max(step, batch_index) >= fmt.MOST_STEPS
        or len(data) % 4
        or rows < 0
        or not filled
        or len(weights) not in (0, 16 * count)
        or len(whole) % (16 * count)
        or len(marks) != count
        or len(seconds) != 8 * count
    ):
        raise ValueError("a block of steps is not well formed")
    budget.take_block(count)
    ids = np.frombuffer(data, "<i4").astype(np.int64)
    took = [_seconds.item() for _seconds in np.frombuffer(seconds, "<f8")]
    states, drawn = _states(marks, metrics), _generators(marks, generators)
    width = len(whole) // count
    for n in range(count):
        weight = weights[16 * n : 16 * n + 16] if weights else None
        part = ids[rows * n : rows * n + rows]
        found = batch(signature, part, weight, whole[width * n : width * n + width], missing, layout)
        before, after = states[n]
        yield Step(
            step + n, epoch, batch_index + n, step + n, step + n + 1, found, before, after, drawn[n], took[n]
        )  # fmt: skip


def _states(marks: bytes, metrics: bytes) -> list[tuple[bytes | None, bytes | None]]:
    """The metric state before and after each step."""
    stored = sum(((mark & fmt.BEFORE) > 0) + ((mark & fmt.AFTER) > 0) for mark in marks)
    if (len(metrics) % stored if stored else len(metrics)) or any(mark > fmt.MOST_MARK for mark in marks):
        raise ValueError("the metrics of a block of steps are not well formed")
    width, place = len(metrics) // stored if stored else 0, 0
    found: list[tuple[bytes | None, bytes | None]] = []
    last: bytes | None = None

    def following() -> bytes:
        nonlocal place
        place += 1
        return metrics[width * (place - 1) : width * place]

    for mark in marks:
        if mark & fmt.AS_AFTER and (last is None or mark & fmt.BEFORE):
            raise ValueError("the metrics of a block of steps are not well formed")
        before = last if mark & fmt.AS_AFTER else following() if mark & fmt.BEFORE else None
        last = following() if mark & fmt.AFTER else None
        found.append((before, last))
    return found


def _generators(marks: bytes, digests: bytes) -> list[Digest | None]:
    found = iter(split_digests(digests))
    drawn = [next(found, b"") if mark & fmt.GENERATOR else None for mark in marks]
    if b"" in drawn or next(found, None) is not None:
        raise ValueError("the generators of a block of steps are not well formed")
    return drawn
