"""Turns recorded items into trace rows: digests, deduplication, and what is kept within the budget. Runs on the
background thread."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from msgspec import structs

from diagnose.record.at_source import Placed
from diagnose.record.batches import TakenBatch
from diagnose.record.blocks import Blocks
from diagnose.record.budget import Budget, Tier
from diagnose.record.fitting import fitting
from diagnose.record.items import (
    ArraysItem,
    EpochItem,
    EvaluationBatchItem,
    EvaluationItem,
    EventItem,
    InfoItem,
    Item,
    OrderItem,
    StateItem,
    StepItem,
    StepsItem,
    TrainEndItem,
)
from diagnose.record.light import VERSIONS
from diagnose.record.order import row_order
from diagnose.record.packs import raw
from diagnose.record.previous import Start, StartItem
from diagnose.record.room import Room
from diagnose.record.saved_files import SavedFiles
from diagnose.record.state_writer import INSIDE_EPOCHS, StateWriter, digests_of
from diagnose.record.trained_rows import TrainedRows
from diagnose.tracefile.about import Header, header
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.events import KINDS
from diagnose.tracefile.format import MAX_JSON_BYTES, MOST_KNOWN_ROWS
from diagnose.tracefile.jsontext import from_json, to_json
from diagnose.tracefile.model import PLAIN, BatchRef, Digest, Json, Layout, Leaf, NDArray, Signature
from diagnose.tracefile.replicas import even_shares
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.sources import source_of
from diagnose.tracefile.writer import TraceWriter

MOST_SOURCES = 1000

MOST_TOLD = 1000
"""Lists of validation batches of which it is said that earlier fits trained on their rows."""

Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Pass:
    """A validation pass as its batches come in: references to them."""

    number: int
    batches: list[BatchRef] = field(default_factory=list)
    recorded: bool = True


class Encoder:
    """Keeps what must be remembered between items: known rows, the validation pass that is going on."""

    def __init__(self, writer: TraceWriter, budget: Budget, *, every_update: bool, keep_rows: bool = True) -> None:
        self._writer = writer
        self._room = Room(writer, budget)
        self._states = StateWriter(writer, self._room, every_update=every_update)
        self._rows: list[dict[Digest, int]] = []
        """Of each signature, the rows that are known by content: the same bytes under another one are another row."""
        self._known_rows = 0
        self._last: tuple[Signature, int] | None = None
        self._signatures: dict[tuple[str, tuple[Leaf, ...]], int] = {}
        self.start = Start(writer.path.name)
        self._trained = TrainedRows()
        self._files = SavedFiles(writer.path.name)
        self._told: set[Digest] = set()
        self._pass = _Pass(0)
        self._header = Header()
        self._validated: set[str] = set()
        self._keep_rows = keep_rows
        self._blocks = Blocks(writer, self._room, self._taken, self._weights)
        self._withhold = not keep_rows

    def handle(self, item: Item) -> bool:
        """Writes one item. Returns True where the trace should reach the disk now (an epoch or the fit ended)."""
        if isinstance(item, StepItem):
            self._step(item)
        elif isinstance(item, StepsItem):
            self._steps(item)
        elif isinstance(item, ArraysItem):
            self._blocks.begin(item.contents)
        elif isinstance(item, StateItem):
            self._states.seen(item)
        elif isinstance(item, EpochItem):
            self._epoch(item)
            return True
        elif isinstance(item, EvaluationBatchItem):
            self._evaluation_batch(item)
        elif isinstance(item, EvaluationItem):
            self._evaluation(item)
        elif isinstance(item, InfoItem):
            if item.key == "variables":
                self._states.set_groups(item.value)
            elif item.key == "compile":
                self.start.set_settings(item.value)
            elif item.key == "optimizer_variables":
                self.start.set_roles(item.value)
            self._info(item.key, item.value)
        elif isinstance(item, StartItem):
            weights = self._states.weights
            if weights is not None:
                self._info("start", self.start.begin(item, digests_of(item.optimizer), weights))
                self._trained.begin(self.start.trained)
                if item.used:
                    self._states.start(item.optimizer)
        elif isinstance(item, EventItem):
            if item.kind == "level":
                self._states.every_update = item.detail["level"] == VERSIONS
            self._event(item)
        elif isinstance(item, OrderItem):
            self._order(item)
        else:
            self._train_end(item)
            return True
        return False

    def closed(self) -> None:
        """To be called when the file is closed."""
        self._room.settle()
        self.start.ended(self._trained.now())
        self._files.ended()

    def _info(self, key: str, value: Json) -> None:
        """The one place where what describes a fit becomes a row of the header, of the type it is read with."""
        text = to_json(value)
        told = None if len(text) > MAX_JSON_BYTES else fitting({key: from_json(text)}, Header)
        if told:
            self._header = structs.replace(self._header, **{key: getattr(header(told), key)})
            self._room.need(len(text) + 512)
            self._writer.info(key, told[key])

    def _sources(self, names: Iterable[str]) -> None:
        """Notes by what the values of these names are computed, where that is not noted yet."""
        known = self._header.sources
        found = {name: source_of(name, self._header, self._validated) for name in names if name not in known}
        if found and len(known) < MOST_SOURCES:  # not for a name of its own in each epoch
            self._info("sources", {**known, **found})

    def _event(self, item: EventItem) -> None:
        """What is said of single steps is left out with them."""
        detail = fitting(from_json(to_json(dict(item.detail))), KINDS.get(item.kind, dict))
        if detail is None:
            return
        cost = len(to_json(detail)) + 512
        of_step = item.detail.get("hook") in INSIDE_EPOCHS and item.kind in ("learning-rate", "metrics-reset")
        if not of_step or self._room.open(Tier.STEPS, cost):
            self._room.need(cost)
            self._writer.event(item.kind, detail, epoch=item.epoch, step=item.step)
        if item.kind == "file-saved":
            replaced = self._files.saved(str(item.detail["path"]), item.epoch or 0)
            if replaced is not None:
                self._event(EventItem("file-replaced", replaced, item.epoch, item.step))

    # ── steps and batches ──

    def _step(self, item: StepItem) -> None:
        metrics = sum(len(state) for state in (item.metrics_before, item.metrics_after) if state is not None)
        generator = 0 if item.generator is None else self._room.content(item.generator.nbytes)
        states = 0 if item.after is None else 512 + 32 * len(item.after.arrays)
        recorded = self._room.open(Tier.STEPS, _reference(item.batch) + metrics + generator + states)
        if recorded:
            batch = self._batch(item.batch, item.fixed, item.global_seed)
            self._trained.trained(batch.row_ids, item.epoch)
            self._writer.step(
                step=item.step,
                epoch=item.epoch,
                batch_index=item.batch_index,
                batch=batch,
                metrics_before=raw(item.metrics_before),
                metrics_after=raw(item.metrics_after),
                generator=None if item.generator is None else self._writer.array(item.generator),
                seconds=item.seconds,
            )
        if item.after is None:
            return
        self._states.step(item.step + 1, item.after.arrays, recorded=recorded)
        item.after.release()

    def _steps(self, item: StepsItem) -> None:
        recorded, rows = self._blocks.steps(item)
        self._trained.trained(rows, item.epoch)
        if item.after is not None:
            self._states.step(item.step + item.count, item.after.arrays, recorded=recorded)
            item.after.release()

    def _batch(
        self, batch: TakenBatch | Placed | str, fixed: bool, global_seed: tuple[int, int] | None = None
    ) -> BatchRef:
        if isinstance(batch, Placed):
            found = self._blocks.placed(batch)
            if not isinstance(found, str):
                signature, ids, weight = found
                layout = _layout(batch.contents.batch, fixed, global_seed)
                return BatchRef(signature, ids, sample_weight=weight, layout=layout)
            batch = found
        if isinstance(batch, str):
            layout = Layout(fixed, global_seed=global_seed)
            return BatchRef(None, np.empty(0, np.int64), missing=batch, layout=layout)
        return self._taken(batch, _layout(batch, fixed, global_seed))

    def _taken(self, batch: TakenBatch, layout: Layout = PLAIN) -> BatchRef:
        number = self._signature(batch.signature)
        weight = None if batch.sample_weight is None else self._weights(batch.sample_weight)
        if batch.whole:
            return replace(self._whole(number, batch, weight), layout=layout)
        packed = pack_rows(batch.leaves)
        digests = row_digests(packed)
        ids = [*map(self._rows[number].get, digests)]
        if None in ids:
            fresh = {digest: i for i, (digest, row) in enumerate(zip(digests, ids, strict=True)) if row is None}
            added = self._add_rows(number, fresh, packed)
            ids = [added[digest] if row is None else row for digest, row in zip(digests, ids, strict=True)]
        return BatchRef(number, np.array(ids, np.int64), sample_weight=weight, layout=layout)

    def _signature(self, signature: Signature) -> int:
        if self._last is not None and self._last[0] is signature:
            return self._last[1]
        known = (repr(signature.structure), signature.leaves)
        number = self._signatures.get(known)
        if number is None:
            number = self._signatures[known] = self._writer.signature(signature)
            self._rows.extend({} for _ in range(number + 1 - len(self._rows)))
        self._last = signature, number
        return number

    def _weights(self, weights: NDArray) -> Digest:
        """Sample weights of one batch. Where rows are withheld, these are: class weights tell the labels."""
        (digest,) = digests_of([weights])
        if not self._withhold and self._has_room([digest], [weights]):
            self._writer.array(weights, digest)
        return digest

    def _whole(self, number: int, batch: TakenBatch, weight: Digest | None) -> BatchRef:
        """A batch that has no rows to tell apart is stored in one piece, once however often the same batch comes."""
        none = np.empty(0, np.int64)
        digests = digests_of(batch.leaves)
        if self._withhold:
            return BatchRef(number, none, sample_weight=weight, whole=digests)
        if not self._has_room(digests, batch.leaves):
            return BatchRef(None, none, missing=f"{self._room.closed(Tier.ROWS)}, and rows had taken their part")
        for digest, leaf in zip(digests, batch.leaves, strict=True):
            self._writer.array(leaf, digest)
        return BatchRef(number, none, sample_weight=weight, whole=digests)

    def _has_room(self, digests: Sequence[Digest], arrays: Sequence[NDArray]) -> bool:
        """Whether these are in the trace, or may be added to it as rows are."""
        fresh = [a for d, a in zip(digests, arrays, strict=True) if not self._writer.has_array(d)]
        return not fresh or self._room.open(Tier.ROWS, sum(256 + self._room.content(a.nbytes) for a in fresh))

    def _add_rows(self, signature: int, fresh: dict[Digest, int], packed: Bytes) -> dict[Digest, int]:
        """Adds rows not seen before, by key and place in `packed`. Returns their ids by key."""
        keep = self._keep_rows and self._room.open(Tier.ROWS, self._room.content(len(fresh) * packed.shape[1]))
        contents = packed[list(fresh.values())] if keep else None
        first = self._writer.rows(signature, [*fresh], contents)
        added = {digest: first + offset for offset, digest in enumerate(fresh)}
        if self._known_rows < MOST_KNOWN_ROWS:
            self._rows[signature].update(added)
            self._known_rows += len(added)
        self._trained.added([*fresh])
        return added

    def _order(self, item: OrderItem) -> None:
        """Notes in which order the rows known by now lie in the arrays that fit was given."""
        refs = []
        for (_, leaves), number in self._signatures.items():
            ids = row_order(item.leaves, leaves, self._rows[number])
            if ids.size:
                refs.append(BatchRef(number, ids))
        if refs and self._room.open(Tier.STEPS, 1024 + sum(64 + 8 * len(ref.row_ids) for ref in refs)):
            self._info("given", {"rows": self._writer.batches(refs).hex()})

    # ── ends ──

    def _evaluation_batch(self, item: EvaluationBatchItem) -> None:
        if item.number != self._pass.number:
            self._pass = _Pass(item.number)
        if self._pass.recorded and self._room.open(Tier.STEPS, _reference(item.batch)):
            self._pass.batches.append(self._batch(item.batch, item.fixed))
        else:
            self._pass = _Pass(item.number, recorded=False)

    def _evaluation(self, item: EvaluationItem) -> None:
        passed = self._pass if self._pass.number == item.number else _Pass(item.number)
        self._pass = _Pass(item.number)
        state = self._states.now()
        if state is None:
            return
        cost = sum(64 + 8 * len(ref.row_ids) + 16 * len(ref.whole) for ref in passed.batches)
        listed = bool(passed.batches) and self._room.open(Tier.STEPS, cost)
        self._validated.update(item.logs)
        self._room.need(len(to_json(dict(item.logs))) + 512)
        batches = self._writer.batches(passed.batches) if listed else None
        number = self._writer.evaluation(
            epoch=item.epoch,
            after_step=item.after_step,
            state=state,
            batches=batches,
            logs=item.logs,
        )
        if batches is not None:
            self._trained_before(number, batches, passed.batches, item)

    def _trained_before(self, number: int, digest: Digest, batches: Sequence[BatchRef], item: EvaluationItem) -> None:
        """Says once of each list of batches how many of its rows earlier fits trained these weights on."""
        rows = self._trained.before(batch.row_ids for batch in batches)
        if rows and digest not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(digest)
            detail = {"evaluation": number, "rows": rows, "known": len(self._trained.earlier.keys)}
            self._event(EventItem("trained-before", detail, item.epoch, item.after_step))

    def _epoch(self, item: EpochItem) -> None:
        version = item.last_version
        state = self._states.end(item.snapshot.arrays, item.optimizer, version=version, label="epoch-end")
        item.snapshot.release()
        made = self._states.made
        if made is not None:
            self.start.epoch((item.epoch, version), item.optimizer, self._states.slots, made, item.logs)
        item.slots.release()
        self._sources(map(str, item.logs))
        self._files.epoch(item.epoch, item.logs)
        self._room.need(len(to_json(dict(item.logs))) + 512)
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
        state = self._states.end(item.snapshot.arrays, item.optimizer, version=None, label="final")
        item.snapshot.release()
        self._room.need(512)
        self._writer.event("train-end", {"state": state}, epoch=None, step=None)


@functools.cache
def _plain_layout(fixed: bool, bare: bool) -> Layout:
    return Layout(fixed, bare=bare)


def _layout(batch: TakenBatch, fixed: bool, global_seed: tuple[int, int] | None) -> Layout:
    if batch.shares is None and batch.sample_weight is None and global_seed is None:
        return _plain_layout(fixed, batch.bare)
    shares = batch.shares
    uneven = shares is not None and shares != even_shares(sum(shares), len(shares))
    tree = None if batch.sample_weight is None else batch.weight_tree
    return Layout(fixed, tree, shares if uneven else None, global_seed, batch.bare)


def _reference(batch: TakenBatch | Placed | str) -> int:
    """Most bytes that a batch takes without its contents: ids and digests of its rows."""
    if isinstance(batch, Placed):
        return 512 + 48 * batch.rows
    return 1024 if isinstance(batch, str) else 512 + 48 * batch.rows + 32 * len(batch.leaves)
