"""What the training thread hands to the background thread: raw arrays and references, not yet digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.record.at_source import Contents, Placed
from diagnose.record.batches import TakenBatch
from diagnose.record.packs import Look, MetricState
from diagnose.record.previous import StartItem
from diagnose.tracefile.model import Json, Layout, NDArray


class Snapshot:
    """Copies of the model's variables in pooled buffers. `release()` gives the buffers back; do it once, when done."""

    __slots__ = ("arrays", "pool")

    def __init__(self, arrays: list[NDArray], pool: SnapshotPool | None = None) -> None:
        self.arrays = arrays
        self.pool = pool

    def release(self) -> None:
        if self.pool is not None:
            self.pool.give_back(self.arrays)
            self.pool = None


class SnapshotPool:
    """Keeps a few sets of buffers for reuse: fresh large arrays cost page faults on every step."""

    def __init__(self, spare: int = 4) -> None:
        self._free: list[list[NDArray]] = []
        self._spare = spare

    def take(self) -> list[NDArray] | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def copied(self, views: Sequence[NDArray]) -> Snapshot:
        """Copies of these arrays, in buffers that were given back where these are alike."""
        buffers = self.take()
        alike = buffers is not None and [(a.dtype, a.shape) for a in buffers] == [(a.dtype, a.shape) for a in views]
        if buffers is None or not alike:
            return Snapshot([np.array(view) for view in views], self)
        for buffer, view in zip(buffers, views, strict=True):
            np.copyto(buffer, view)
        return Snapshot(buffers, self)

    def give_back(self, arrays: list[NDArray]) -> None:
        if len(self._free) < self._spare:
            self._free.append(arrays)


@dataclass(frozen=True, slots=True)
class InfoItem:
    key: str
    value: Json


@dataclass(frozen=True, slots=True)
class StepItem:
    step: int
    epoch: int
    batch_index: int
    batch: TakenBatch | Placed | str
    """The batch, or the reason why it cannot be recorded."""
    metrics_before: MetricState
    metrics_after: MetricState
    generator: NDArray | None
    seconds: float
    after: Snapshot | Look | None
    """None inside an execution of several steps, where nothing is read."""
    fixed: bool = False
    """Whether the step was compiled for the size of its batch."""
    global_seed: tuple[int, int] | None = None
    """The state of Keras's global seed generator before the step, where it was seen."""


@dataclass(frozen=True, slots=True)
class StepsItem:
    """Steps of one epoch that followed each other without a look at any: what they took is told by `rows`."""

    step: int
    """The first of them."""
    epoch: int
    batch_index: int
    count: int
    rows: tuple[Contents, NDArray] | str
    """The arrays that the fit went over and the places of these rows in them, or why they are not known."""
    batch_size: int
    metrics_before: bytes | None
    """Before the first of them."""
    metrics_after: bytes | None
    """After the last of them."""
    generator: NDArray | None
    seconds: float
    """Of one of them: the mean."""
    after: Snapshot | None
    layout: Layout
    """Of each."""
    global_seed: tuple[int, int] | None
    """Before the first of them."""


@dataclass(frozen=True, slots=True)
class ArraysItem:
    """The arrays that the steps from here on go over."""

    contents: Contents


@dataclass(frozen=True, slots=True)
class StateItem:
    """The state seen outside a train step, after `callback` (None: before any) ran its `hook`."""

    hook: str
    callback: str | None
    epoch: int | None
    step: int | None
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class EpochItem:
    epoch: int
    first_version: int
    last_version: int
    logs: Mapping[str, Json]
    learning_rate: float | None
    seconds: float
    snapshot: Snapshot
    slots: Snapshot
    """Of the optimizers' variables."""

    @property
    def optimizer(self) -> Sequence[NDArray]:
        return self.slots.arrays


@dataclass(frozen=True, slots=True)
class EvaluationBatchItem:
    """One batch of a validation pass, as it comes. `number` tells passes apart: one that raised never ends."""

    number: int
    batch: TakenBatch | str
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """A validation pass, finished; the state it was computed with came before its first batch, as a `StateItem` with
    hook "test"."""

    number: int
    epoch: int
    after_step: int
    logs: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class EventItem:
    kind: str
    detail: Mapping[str, Json]
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class TrainEndItem:
    snapshot: Snapshot
    optimizer: Sequence[NDArray]


@dataclass(frozen=True, slots=True)
class OrderItem:
    """The arrays that `fit` was given, not copied: leaves of x and y in signature order."""

    leaves: Sequence[Any]


Item = (
    InfoItem
    | StartItem
    | StepItem
    | StepsItem
    | ArraysItem
    | StateItem
    | EpochItem
    | EvaluationBatchItem
    | EvaluationItem
    | EventItem
    | TrainEndItem
    | OrderItem
)


def nbytes(item: Item) -> int:
    """About what an item holds in memory."""
    if isinstance(item, StepItem) and not isinstance(item.after, Snapshot):
        held = 0 if item.after is None else item.after.nbytes
        return 1024 + held + (item.batch.nbytes if isinstance(item.batch, TakenBatch) else 0)
    arrays: list[NDArray] = []
    snapshot = _snapshot(item)
    if isinstance(snapshot, Snapshot):
        arrays.extend(snapshot.arrays)
    batch = getattr(item, "batch", None)
    if isinstance(batch, TakenBatch):
        arrays.extend(batch.leaves)
        arrays.extend([] if batch.sample_weight is None else [batch.sample_weight])
    arrays.extend(getattr(item, "optimizer", ()))
    if isinstance(item, StepsItem) and not isinstance(item.rows, str):
        arrays.append(item.rows[1])
    return 1024 + sum(array.nbytes + 128 for array in arrays)


def release(item: Item) -> None:
    """Gives the item's buffers back without writing it (after an error)."""
    snapshot = _snapshot(item)
    if isinstance(snapshot, Snapshot):
        snapshot.release()
    if isinstance(item, EpochItem):
        item.slots.release()


def _snapshot(item: Item) -> Snapshot | Look | None:
    found: Snapshot | Look | None = getattr(item, "after", None)
    return getattr(item, "snapshot", None) if found is None else found
