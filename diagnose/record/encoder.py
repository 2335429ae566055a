"""Turns recorded items into trace rows: digests, deduplication, and what is kept within the budget. Runs on the
background thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diagnose.record.batches import TakenBatch
from diagnose.record.budget import Budget, Meter
from diagnose.record.items import (
    EpochItem,
    EvaluationItem,
    EventItem,
    InfoItem,
    Item,
    Snapshot,
    StateItem,
    StepItem,
    TrainEndItem,
)
from diagnose.record.previous import Start, StartItem
from diagnose.trace.digest import array_digest, group_digest, row_digests
from diagnose.trace.model import BatchRef, Digest, Leaf, NDArray
from diagnose.trace.replicas import SHARES_EVENT, even_shares
from diagnose.trace.rows import pack_rows
from diagnose.trace.writer import TraceWriter

MOST_KNOWN_ROWS = 2_000_000
"""Rows that are known again, at about 150 bytes of memory each. Rows beyond them are added once more each time."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Current:
    state: int
    version: int
    digests: tuple[Digest, ...]


class Encoder:
    """Keeps what must be remembered between items: the current state, known rows, known digests."""

    def __init__(self, writer: TraceWriter, budget: Budget, *, every_update: bool, keep_rows: bool = True) -> None:
        self._writer = writer
        self._meter = Meter(budget)
        self._every_update = every_update
        self._rows: dict[Digest, int] = {}
        self._signatures: dict[tuple[str, tuple[Leaf, ...]], int] = {}
        self._groups: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._current: _Current | None = None
        self._made: tuple[Digest, ...] = ()
        self._slots: tuple[Digest, ...] = ()
        self._start = Start(writer.path.name)
        self._evaluations = 0
        self._keep_rows = keep_rows
        self._withhold = not keep_rows

    def handle(self, item: Item) -> bool:
        """Writes one item. Returns True where the trace should reach the disk now (an epoch or the fit ended)."""
        if isinstance(item, StepItem):
            self._step(item)
        elif isinstance(item, StateItem):
            self._observe(item)
        elif isinstance(item, EpochItem):
            self._epoch(item)
            self._spent()  # counts what was written, for other traces
            return True
        elif isinstance(item, EvaluationItem):
            self._evaluation(item)
        elif isinstance(item, InfoItem):
            if item.key == "variables":
                self._set_groups(item.value)
            elif item.key == "compile":
                self._start.set_settings(item.value)
            elif item.key == "optimizer_variables":
                self._start.set_roles(item.value)
            self._writer.info(item.key, item.value)
        elif isinstance(item, StartItem):
            if self._current is not None:
                weights = self._weights(self._current.digests)
                self._writer.info("start", self._start.begin(item, _digests(item.optimizer), weights))
        elif isinstance(item, EventItem):
            self._writer.event(item.kind, item.detail, epoch=item.epoch, step=item.step)
        else:
            self._train_end(item)
            self._spent()  # counts what was written, for other traces
            return True
        return False

    def _set_groups(self, variables: Sequence[dict[str, object]]) -> None:
        def indices(group: str) -> list[int]:
            return [i for i, v in enumerate(variables) if v["group"] == group]

        self._groups = (indices("trainable"), indices("non_trainable"), indices("seed"))

    # ── states ──

    def _weights(self, digests: Sequence[Digest]) -> tuple[Digest, Digest]:
        trainable, non_trainable, _ = (group_digest([digests[i] for i in group]) for group in self._groups)
        return trainable, non_trainable

    def _write_state(
        self,
        digests: tuple[Digest, ...],
        arrays: Sequence[NDArray],
        *,
        version: int | None,
        label: str,
        keep: bool,
        optimizer: Sequence[NDArray] | None = None,
    ) -> int:
        if keep:
            for digest, array in zip(digests, arrays, strict=True):
                if not self._writer.has_array(digest):
                    self._writer.array(array, digest)
        slots = None if optimizer is None else tuple(self._writer.array(a) for a in optimizer)
        self._slots = slots or ()
        trainable, non_trainable, seeds = (group_digest([digests[i] for i in group]) for group in self._groups)
        return self._writer.state(
            version=version,
            label=label,
            trainable=trainable,
            non_trainable=non_trainable,
            seeds=seeds,
            optimizer=None if slots is None else group_digest(slots),
            arrays=digests,
            optimizer_arrays=slots,
            kept=keep,
        )

    def _keep_updates(self) -> bool:
        if self._every_update and self._spent():
            self._every_update = False
            self._limit("weights of single updates")
        return self._every_update

    def _limit(self, what: str) -> None:
        self._writer.event("limit", {"what": what, "reason": self._spent()}, epoch=None, step=None)

    def _spent(self) -> str:
        """Which limit is reached, as a clause; empty where none is."""
        return self._meter.spent(self._writer.bytes_written)

    def _observe(self, item: StateItem) -> None:
        arrays = item.snapshot.arrays
        digests = _digests(arrays)
        current = self._current
        if current is None:
            state = self._write_state(digests, arrays, version=0, label="version", keep=True)
            self._current = _Current(state, 0, digests)
        elif digests != current.digests:
            # Kept whatever the budget says: no update can make these weights again.
            state = self._write_state(digests, arrays, version=current.version, label="changed", keep=True)
            detail = {
                "callback": item.callback,
                "hook": item.hook,
                "before": current.state,
                "after": state,
                "groups": self._changed_groups(current.digests, digests),
            }
            self._writer.event("weights-changed", detail, epoch=item.epoch, step=item.step)
            self._current = _Current(state, current.version, digests)
        item.snapshot.release()

    def _changed_groups(self, old: tuple[Digest, ...], new: tuple[Digest, ...]) -> list[str]:
        names = ("trainable", "non_trainable", "seed")
        return [n for n, group in zip(names, self._groups, strict=True) if any(old[i] != new[i] for i in group)]

    # ── steps and batches ──

    def _step(self, item: StepItem) -> None:
        batch = self._batch(item.batch)
        self._writer.step(
            step=item.step,
            epoch=item.epoch,
            batch_index=item.batch_index,
            computed_at=item.step,
            produced=item.step + 1,
            batch=batch,
            metrics_before=item.metrics_before,
            metrics_after=item.metrics_after,
            generator=None if item.generator is None else self._writer.array(item.generator),
            seconds=item.seconds,
        )
        self._note_shares(item.batch, item.epoch, item.step, {})
        if item.after is None:
            return
        digests = _digests(item.after.arrays)
        version = item.step + 1
        state = self._write_state(
            digests, item.after.arrays, version=version, label="version", keep=self._keep_updates()
        )
        self._current = _Current(state, version, digests)
        self._made = digests
        item.after.release()

    def _note_shares(self, batch: TakenBatch | str, epoch: int, step: int, of: dict[str, int]) -> None:
        """Says how a batch was split over replicas, unless it was split evenly."""
        shares = None if isinstance(batch, str) else batch.shares
        if shares is not None and shares != even_shares(sum(shares), len(shares)):
            self._writer.event(SHARES_EVENT, {"rows": list(shares), **of}, epoch=epoch, step=step)

    def _batch(self, batch: TakenBatch | str) -> BatchRef:
        if isinstance(batch, str):
            return BatchRef(None, np.empty(0, np.int64), missing=batch)
        known = (repr(batch.signature.structure), batch.signature.leaves)
        number = self._signatures.get(known)
        if number is None:
            number = self._signatures[known] = self._writer.signature(batch.signature)
        weight = None if batch.sample_weight is None else self._data(batch.sample_weight)
        if batch.whole:
            return self._whole(number, batch, weight)
        packed = pack_rows(batch.leaves)
        salt = number.to_bytes(4, "little")  # the same bytes under another signature are another row
        keys = [salt + digest for digest in row_digests(packed)]
        known_rows = [self._rows.get(key) for key in keys]
        fresh = {key: i for i, (key, row) in enumerate(zip(keys, known_rows, strict=True)) if row is None}
        added = self._add_rows(number, fresh, packed) if fresh else {}
        ids = [added[key] if row is None else row for key, row in zip(keys, known_rows, strict=True)]
        return BatchRef(number, np.array(ids, np.int64), sample_weight=weight)

    def _whole(self, number: int, batch: TakenBatch, weight: Digest | None) -> BatchRef:
        """A batch that has no rows to tell apart is stored in one piece, once however often the same batch comes."""
        none = np.empty(0, np.int64)
        digests = _digests(batch.leaves)
        if self._withhold:
            return BatchRef(number, none, sample_weight=weight, whole=digests)
        known = all(self._writer.has_array(digest) for digest in digests)
        if not known and self._spent():
            return BatchRef(None, none, missing=f"before it, {self._spent()}")
        for digest, leaf in zip(digests, batch.leaves, strict=True):
            self._writer.array(leaf, digest)
        return BatchRef(number, none, sample_weight=weight, whole=digests)

    def _data(self, array: NDArray) -> Digest:
        """The digest of an array that tells of rows (class weights tell the labels); stored where these are."""
        return array_digest(array) if self._withhold else self._writer.array(array)

    def _add_rows(self, signature: int, fresh: dict[Digest, int], packed: Bytes) -> dict[Digest, int]:
        """Adds rows not seen before, by key and place in `packed`. Returns their ids by key."""
        if self._keep_rows and self._spent():
            self._keep_rows = False
            self._limit("rows seen for the first time")
        contents = packed[list(fresh.values())] if self._keep_rows else None
        first = self._writer.rows(signature, [key[4:] for key in fresh], contents)
        added = {key: first + offset for offset, key in enumerate(fresh)}
        if len(self._rows) < MOST_KNOWN_ROWS:
            self._rows.update(added)
        return added

    # ── ends ──

    def _evaluation(self, item: EvaluationItem) -> None:
        if self._current is None:
            return
        batches = self._writer.batches([self._batch(b) for b in item.batches]) if item.batches else None
        self._writer.evaluation(
            epoch=item.epoch,
            after_step=item.after_step,
            state=self._current.state,
            batches=batches,
            logs=item.logs,
        )
        for i, batch in enumerate(item.batches):
            of = {"evaluation": self._evaluations, "batch": i}
            self._note_shares(batch, item.epoch, item.after_step, of)
        self._evaluations += 1

    def _epoch(self, item: EpochItem) -> None:
        version = item.last_version
        digests = _digests(item.snapshot.arrays)
        state = self._write_state(
            digests, item.snapshot.arrays, version=version, label="epoch-end", keep=True, optimizer=item.optimizer
        )
        item.snapshot.release()
        if self._made:
            made = self._weights(self._made)
            self._start.epoch((item.epoch, version), item.optimizer, self._slots, made, item.logs)
        self._writer.epoch(
            epoch=item.epoch,
            first_version=item.first_version,
            last_version=version,
            logs=item.logs,
            state=state,
            learning_rate=item.learning_rate,
            seconds=item.seconds,
        )

    def _train_end(self, item: TrainEndItem) -> None:
        digests = _digests(item.snapshot.arrays)
        state = self._write_state(
            digests, item.snapshot.arrays, version=None, label="final", keep=True, optimizer=item.optimizer
        )
        item.snapshot.release()
        self._writer.event("train-end", {"state": state}, epoch=None, step=None)


def _digests(arrays: Sequence[NDArray]) -> tuple[Digest, ...]:
    return tuple(array_digest(array) for array in arrays)


def release(item: Item) -> None:
    """Gives the item's buffers back without writing it (after an error)."""
    snapshot = getattr(item, "after", None) or getattr(item, "snapshot", None)
    if isinstance(snapshot, Snapshot):
        snapshot.release()
