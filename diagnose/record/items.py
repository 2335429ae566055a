"""What the training thread hands to the background thread: raw arrays and references, not yet digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnose.record.batches import TakenBatch
from diagnose.record.previous import StartItem
from diagnose.trace.model import Json, NDArray


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
    batch: TakenBatch | str
    """The batch, or the reason why it cannot be recorded."""
    metrics_before: bytes | None
    metrics_after: bytes | None
    generator: NDArray | None
    seconds: float
    after: Snapshot | None
    """None inside an execution of several steps, where nothing is read."""


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
    optimizer: Sequence[NDArray]


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """A finished validation pass; the state it was computed with came just before, as a `StateItem` with hook
    "test"."""

    epoch: int
    after_step: int
    batches: Sequence[TakenBatch | str]
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


Item = InfoItem | StartItem | StepItem | StateItem | EpochItem | EvaluationItem | EventItem | TrainEndItem
