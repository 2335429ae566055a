"""Which weights and which rows of a fit a call of the script's had, by their digests; and its batches, from what was
kept of them. Replays nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from diagnose.analysis.maps import Map, between
from diagnose.record.call_items import Call, CallRows, Calls
from diagnose.replay.runs import EvaluationData
from diagnose.result.calls import CallRows as RowsFound
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import Batch, BatchRef, Digest, NDArray, State
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import part
from diagnose.tracefile.rows import build, leaves_of, pack_rows

DEFAULT_BATCH = 32


@dataclass(frozen=True, slots=True)
class Held:
    """The weights of a call. `state`: a recorded one with these weights, None where there is none."""

    state: State | None
    version: int | None
    ends_epoch: int | None
    after_fit: bool
    changed: int
    strange: tuple[str, ...]
    """Variables with contents that no version after the first had, by their paths."""


class Known:
    """What a trace knows of weights and rows, by digest."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        groups = [v.group for v in trace.header.variables]
        self._own = [i for i, group in enumerate(groups) if group in ("trainable", "non_trainable")]
        self._paths = [trace.header.variables[i].path for i in self._own]
        self.variables = len([group for group in groups if group != "replica"])

    # ── weights ──

    def _key(self, digests: Sequence[Digest]) -> tuple[Digest, ...]:
        """Without seeds, which decide no value in inference, and what stateful layers carry on."""
        return tuple(digests[i] for i in self._own)

    @cached_property
    def _states(self) -> dict[tuple[Digest, ...], list[State]]:
        found: dict[tuple[Digest, ...], list[State]] = {}
        for state in self.trace.states:
            if len(state.arrays) >= self.variables:
                found.setdefault(self._key(state.arrays), []).append(state)
        return found

    @cached_property
    def _trained(self) -> list[set[Digest]]:
        """Of each variable all contents that training made; what it began with, a fresh model may have as well."""
        found: list[set[Digest]] = [set() for _ in self._own]
        for key, states in self._states.items():
            if any(s.version != 0 for s in states):
                for seen, digest in zip(found, key, strict=True):
                    seen.add(digest)
        return found

    def held(self, call: Call) -> Held | None:
        """None where the model had other variables than the one that was fit."""
        if len(call.weights) != self.variables:
            return None
        key, final = self._key(call.weights), self.trace.final
        end = None if final is None else self._key(final.arrays)
        states = self._states.get(key, [])
        # What a restore left has the number of its time, not of its weights: the index has those that updates made.
        versions = self.trace.index.versions_of(states[0]) if states else ()
        ends = [e for e in self.trace.epochs if e.last_version in versions or self.trace.states[e.state] in states]
        own = [e.epoch for e in ends if e.epoch == call.epoch] or [e.epoch for e in ends]
        changed = 0 if end is None else sum(a != b for a, b in zip(key, end, strict=True))
        return Held(
            state=next((s for s in states if s.version is not None), states[0] if states else None),
            version=max(versions, default=None),
            ends_epoch=max(own, default=None),
            after_fit=key == end,
            changed=changed,
            strange=tuple(self._paths[i] for i, d in enumerate(key) if d not in self._trained[i]),
        )

    # ── rows ──

    @cached_property
    def training(self) -> Counter[int]:
        """How often each row comes in the epoch that has it most often."""
        found: Counter[int] = Counter()
        for epoch in {step.epoch for step in self.trace.steps}:
            found |= Counter(_ids(step.batch for step in self.trace.index.steps_of(epoch)))
        return found

    @cached_property
    def validation(self) -> list[int]:
        """Of the last recorded validation pass, in its order."""
        passes = [e.batches for e in self.trace.evaluations if e.batches is not None]
        return _ids(self.trace.batches(passes[-1])) if passes else []

    @cached_property
    def order(self) -> list[int]:
        """Of the arrays that fit was given; empty where the trace does not have it."""
        return _ids(ref for ref in self.trace.given_order() if ref.signature == self.signature)

    @cached_property
    def _by_digest(self) -> dict[Digest, int]:
        return {self.trace.row_digest(row): row for row in {*self.training, *self.validation}}

    def ids(self, rows: CallRows) -> list[int | None]:
        """The recorded row of each of a call's, None for others."""
        return [self._by_digest.get(d) for d in rows.both or ()]

    def inputs(self, rows: CallRows) -> list[int | None]:
        """The same, of which only the inputs are known: of rows with equal ones, one stands for all."""
        by_digest = {digest: row for row, digest in self._inputs.items()}
        return [by_digest.get(d) for d in rows.x or ()]

    @cached_property
    def _inputs(self) -> dict[int, Digest]:
        """The digest of each recorded row's inputs. Raises ReplayError where the trace lacks them."""
        every = np.array(sorted({*self.training, *self.validation}), np.int64)
        x = leaves_of(self.trace.batch(BatchRef(self.signature, every)).x)
        return dict(zip(every.tolist(), row_digests(pack_rows([np.asarray(leaf) for leaf in x])), strict=True))

    @property
    def signature(self) -> int | None:
        return next((s.batch.signature for s in self.trace.steps if s.batch.signature is not None), None)

    def changed(self, calls: Calls, call: Call) -> tuple[RowsFound, list[int], Map] | None:
        """Rows that are those of fit, by their labels in order (or, of inputs alone, by their number), after a simple
        map; with the recorded rows and that map. Raises ReplayError where the trace lacks them."""
        rows, number = call.rows, self.signature
        if rows is None or number is None or rows.x is None or len(rows.leaves) - (rows.y is not None) != 1:
            return None
        leaves = calls.arrays(rows.leaves)
        candidates: tuple[tuple[Literal["training", "validation"], list[int]], ...]
        candidates = ("validation", self.validation), ("training", self.order)
        for of, every in candidates:
            ids = every[: rows.count]
            if leaves is None or len(ids) < rows.count or (rows.y is None and rows.count != len(every)):
                continue
            batch = self.trace.batch(BatchRef(number, np.array(ids, np.int64)))
            if not isinstance(batch.x, np.ndarray) or (rows.y is not None and not _labels_are(rows.y, batch.y)):
                continue
            found = between(leaves[0], batch.x)
            if found is not None:
                shown = (found.name, of, found.scale, found.shift)
                return RowsFound("changed", rows.count, rows.count, len(every), *shown), ids, found
        return None

    def found(self, count: int, ids: Sequence[int | None], *, of_inputs: bool) -> RowsFound:
        """Which rows these are."""
        validation = set(self.validation)
        known = [row for row in ids if row is not None]
        trained = [row for row in known if row in self.training]
        validated = [row for row in known if row in validation]
        if count and len(validated) == count and (len(trained) < count or sorted(known) == sorted(self.validation)):
            return RowsFound("validation", count, count, len(self.validation))
        if count and len(trained) == count:
            ordered = self._in_order(trained, of_inputs=of_inputs)
            return RowsFound("training", count, count, self.training.total(), ordered=ordered)
        return RowsFound("other", count, len(known))

    def _in_order(self, rows: list[int], *, of_inputs: bool) -> bool | None:
        """Whether they are the first of the arrays that fit was given; None where the order of these is not known."""
        given = self.order[: len(rows)]
        if not given:
            return None
        if of_inputs:
            return [self._inputs.get(row) for row in rows] == [self._inputs.get(row) for row in given]
        return rows == given


def _ids(refs: Iterable[BatchRef]) -> list[int]:
    return [int(row) for ref in refs for row in ref.row_ids if row >= 0]


def _labels_are(digests: Sequence[Digest], labels: object) -> bool:
    """Whether these are the labels, which tell rows apart at least a little."""
    leaves = [np.asarray(leaf) for leaf in leaves_of(labels)]
    return len(set(digests)) > 1 and bool(leaves) and tuple(row_digests(pack_rows(leaves))) == tuple(digests)


def with_inputs(found: Sequence[Batch], inputs: NDArray) -> list[Batch]:
    """The same batches, with these inputs in their order."""
    made, start = [], 0
    for b in found:
        made.append(replace(b, x=np.ascontiguousarray(inputs[start : start + b.size])))
        start += b.size
    return made


def batches(calls: Calls, call: Call, known: Known, ids: Sequence[int | None]) -> list[Batch] | None:
    """The batches of a call; None where its rows were not kept. Raises ReplayError where the trace lacks them."""
    rows = call.rows
    if rows is None:
        return None
    size = rows.count if call.kind.endswith("_on_batch") else call.batch_size or DEFAULT_BATCH
    count = rows.count if call.steps is None else min(rows.count, call.steps * size)
    places = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    weights = None if rows.sample_weight is None else calls.arrays([rows.sample_weight])
    if rows.sample_weight is not None and weights is None:
        return None
    leaves, signature = calls.arrays(rows.leaves), known.signature
    found = []
    if all(row is not None for row in ids) and ids and signature is not None:
        every = np.array(ids, np.int64)
        found = [known.trace.batch(BatchRef(signature, every[at])) for at in places]
    elif leaves is not None and all(leaf.ndim for leaf in leaves) and not call.kind.startswith("predict"):
        structure = rows.signature.structure
        for at in places:
            own = [leaf[at] for leaf in leaves]
            numbers = -1 - np.arange(at.start, at.stop)
            found.append(Batch(build(structure["x"], own), build(structure["y"], own), None, numbers, len(numbers)))
    else:
        return None
    if _hands_on_bare(call):
        found = [replace(b, bare=True) for b in found]
    if weights is None:
        return found
    own_weights = [weights[0][at] for at in places]
    return [replace(b, sample_weight=w, weight_tree=rows.weight_tree) for b, w in zip(found, own_weights, strict=True)]


def _hands_on_bare(call: Call) -> bool:
    """Whether Keras hands x on by itself, not as the first of a tuple: of arrays that `evaluate` was given without
    targets."""
    rows = call.rows
    if rows is None or rows.sample_weight is not None or call.kind != "evaluate":
        return False
    structure = rows.signature.structure
    return "none" in structure["y"] and not {"tuple", "list"} & set(structure["x"])


def in_batches_of(found: Sequence[Batch], data: EvaluationData) -> list[Batch]:
    """The same rows in batches as the evaluation data has them."""
    from diagnose.replay.runs import joined

    one = joined(found)
    size = max(data.batch_size, 1)
    made = []
    for start in range(0, one.size, size):
        x, y, weight, rows = (part(v, start, start + size) for v in (one.x, one.y, one.sample_weight, one.rows))
        made.append(replace(one, x=x, y=y, sample_weight=weight, rows=rows, size=len(rows)))
    return made
