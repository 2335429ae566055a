"""Which weights and which rows of a fit a call of the script's had, by their digests; and its batches, from what was
kept of them. Replays nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from diagnose.errors import ReplayError
from diagnose.record.call_items import Call, CallRows, Calls
from diagnose.result.calls import CallRows as RowsFound
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import Batch, BatchRef, Digest, NDArray, State
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import part
from diagnose.tracefile.rows import build, leaves_of, pack_rows

DEFAULT_BATCH = 32
FEW = 64


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
    loaded: tuple[str, ...]
    """The fit's variables that are there with contents that training made."""
    differing: tuple[str, ...] = ()
    """Those that are there, in their place and shape, with others."""
    absent: tuple[str, ...] = ()
    """Those that are not."""


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
    def _recorded(self) -> list[tuple[set[Digest], set[Digest]]]:
        """Of each variable all contents, and those that training made: what it began with, a fresh model, or one of
        the same pretrained layers, may have as well."""
        found: list[tuple[set[Digest], set[Digest]]] = [(set(), set()) for _ in self._own]
        for key in self._states:
            for (every, _), digest in zip(found, key, strict=True):
                every.add(digest)
        first = next((key for key, states in self._states.items() if any(s.version == 0 for s in states)), ())
        for (every, trained), digest in zip(found, first, strict=False):
            trained |= every - {digest}
        return found if first else [(every, set(every)) for every, _ in found]

    def held(self, call: Call) -> Held:
        if len(call.weights) != self.variables:
            return self._of_others(call)
        key, final = self._key(call.weights), self.trace.final
        end = None if final is None else self._key(final.arrays)
        states = self._states.get(key, [])
        # What a restore left has the number of its time, not of its weights: the index has those that updates made.
        versions = self.trace.index.versions_of(states[0]) if states else ()
        ends = [e for e in self.trace.epochs if e.last_version in versions or self.trace.states[e.state] in states]
        own = [e for e in ends if e.epoch == call.epoch] or ends
        last = max(own, key=lambda e: e.epoch, default=None)
        # Updates that change nothing make more versions of these weights: the one that ends the epoch is its own.
        ended = last is not None and last.last_version in versions
        changed = 0 if end is None else sum(a != b for a, b in zip(key, end, strict=True))
        known = list(zip(self._paths, key, self._recorded, strict=True))
        return Held(
            state=next((s for s in states if s.version is not None), states[0] if states else None),
            version=last.last_version if last is not None and ended else max(versions, default=None),
            ends_epoch=None if last is None else last.epoch,
            after_fit=key == end,
            changed=changed,
            strange=tuple(path for path, digest, (every, trained) in known if digest not in (trained or every)),
            **self._parts(call, [digest in trained for _, digest, (_, trained) in known], list(key)),
        )

    def _parts(self, call: Call, loaded: Sequence[bool], there: Sequence[Digest | None]) -> dict[str, tuple[str, ...]]:
        """The fit's variables by what has become of them.

        Args:
            there: the contents in the place of each, None: the model has no such place.
        """
        variables, shapes = self.trace.header.variables, self._shapes_there(call)
        found: dict[str, list[str]] = {"loaded": [], "differing": [], "absent": []}
        for i, path, there_is, digest in zip(self._own, self._paths, loaded, there, strict=True):
            fits = digest is not None and shapes.get(i, variables[i].shape) == variables[i].shape
            found["loaded" if there_is else "differing" if fits else "absent"].append(path)
        return {name: tuple(paths) for name, paths in found.items()}

    def _shapes_there(self, call: Call) -> dict[int, tuple[int, ...]]:
        """The shape of what stands in the place of each of the fit's variables, of another model with as many."""
        alike = len(call.shapes) == self.variables
        return {i: tuple(call.shapes[i]) for i in self._own} if alike else {}

    def _of_others(self, call: Call) -> Held:
        """A model of other variables: what it has of this fit's, wherever."""
        there, known = set(call.weights), {d for every, trained in self._recorded for d in trained or every}
        paths = call.paths or tuple("" for _ in call.weights)
        strange = tuple(path for path, d in zip(paths, call.weights, strict=False) if d not in known)
        loaded = [not trained.isdisjoint(there) for _, trained in self._recorded]
        # By name, without that of the model, and shape.
        shapes = call.shapes or tuple(() for _ in call.weights)
        places = {(_tail(path), tuple(shape)): d for path, shape, d in zip(paths, shapes, call.weights, strict=False)}
        variables = self.trace.header.variables
        own = [places.get((_tail(variables[i].path), variables[i].shape)) for i in self._own]
        return Held(None, None, None, False, len(call.weights), strange, **self._parts(call, loaded, own))

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

    @cached_property
    def _in_every_epoch(self) -> set[int]:
        """Rows that each whole epoch went over."""
        epochs = [set(_ids(s.batch for s in self.trace.index.steps_of(e.epoch))) for e in self.trace.epochs]
        return set.intersection(*epochs) if epochs else set()

    def redrawn(self, ids: Sequence[int | None]) -> int:
        """How many of these were trained on, but not in every epoch."""
        return sum(row is not None and row in self.training and row not in self._in_every_epoch for row in ids)

    def in_order(self, rows: list[int]) -> list[int]:
        """These rows in the order of fit's arrays, where they are all of the training or of the validation rows."""
        for every in (self.validation, self.order):
            if len(every) == len(rows) and sorted(every) == sorted(rows):
                return every
        return rows

    def ids(self, rows: CallRows) -> list[int | None]:
        """The recorded row of each of a call's, None for others."""
        return [self._by_digest.get(d) for d in rows.both or ()]

    def inputs(self, rows: CallRows) -> tuple[list[int | None], bool]:
        """The same, of which only the inputs are known; and whether these are the rows themselves, not one of several
        with equal inputs and other labels. Raises ReplayError where the trace lacks them."""
        given = rows.x or ()
        for every in (self.validation, self.order):
            ids = every[: rows.count]
            if len(ids) == len(given) and [self._inputs.get(row) for row in ids] == list(given):
                return list(ids), True
        by_digest = {digest: row for row, digest in self._inputs.items()}
        several = Counter(self._inputs.values())
        return [by_digest.get(d) for d in given], all(several[d] < 2 for d in given)

    def has_inputs(self, rows: CallRows) -> bool:
        """Whether a few inputs of fit are among these: of all of them, digests cost more."""
        few = np.array(sorted({*self.validation[:FEW], *(self.order or sorted(self.training))[:FEW]}), np.int64)
        return len(few) > 0 and not set(rows.x or ()).isdisjoint(self._digests_of(few))

    def _digests_of(self, rows: NDArray) -> Sequence[Digest]:
        numbers = np.array([self._signatures.get(row, -1) for row in rows.tolist()], np.int64)
        found = np.empty(len(rows), object)
        for number in np.unique(numbers).tolist():
            x = leaves_of(self.batch(rows[numbers == number]).x)
            found[numbers == number] = row_digests(pack_rows([np.asarray(leaf) for leaf in x]))
        digests: list[Digest] = found.tolist()
        return digests

    @cached_property
    def _signatures(self) -> dict[int, int]:
        """The signature of each recorded row: validation data may have labels of another dtype."""
        passes = [e.batches for e in self.trace.evaluations if e.batches is not None]
        validated = self.trace.batches(passes[-1]) if passes else ()
        refs = [*self.trace.given_order(), *(s.batch for s in self.trace.steps), *validated]
        return {int(row): ref.signature for ref in refs if ref.signature is not None for row in ref.row_ids if row >= 0}

    def of_one_form(self, ids: Sequence[int | None]) -> bool:
        """Whether these are recorded rows, and of one signature, so that `batch` gives them."""
        found = {None if row is None else self._signatures.get(row) for row in ids}
        return len(found) == 1 and None not in found

    def batch(self, rows: Sequence[int] | NDArray) -> Batch:
        """Recorded rows with their contents. Raises ReplayError where the trace lacks them, or they are of several
        signatures."""
        ids = np.asarray(rows, np.int64)
        if not self.of_one_form(ids.tolist()):
            raise ReplayError("these rows are of several kinds, or of none that is recorded")
        return self.trace.batch(BatchRef(self._signatures[int(ids[0])], ids))

    @cached_property
    def _inputs(self) -> dict[int, Digest]:
        """The digest of each recorded row's inputs. Raises ReplayError where the trace lacks them."""
        every = np.array(sorted({*self.training, *self.validation}), np.int64)
        return dict(zip(every.tolist(), self._digests_of(every), strict=True))

    @property
    def signature(self) -> int | None:
        return next((s.batch.signature for s in self.trace.steps if s.batch.signature is not None), None)

    def found(self, count: int, ids: Sequence[int | None], *, of_inputs: bool) -> RowsFound:
        """Which rows these are."""
        validation = set(self.validation)
        known = [row for row in ids if row is not None]
        trained = [row for row in known if row in self.training]
        validated = [row for row in known if row in validation]
        if count and len(validated) == count and (len(trained) < count or sorted(known) == sorted(self.validation)):
            ordered = self._in_order(validated, self.validation, of_inputs=of_inputs)
            return RowsFound("validation", count, count, len(self.validation), ordered=ordered)
        if count and len(trained) == count:
            ordered = self._in_order(trained, self.order, of_inputs=of_inputs)
            return RowsFound("training", count, count, self.training.total(), ordered=ordered)
        return RowsFound("other", count, len(known), validated=len([row for row in known if row not in self.training]))

    def _in_order(self, rows: list[int], order: list[int], *, of_inputs: bool) -> bool | None:
        """Whether they are the first of these arrays that fit was given; None where their order is not known."""
        given = order[: len(rows)]
        if not given:
            return None
        if of_inputs:
            return [self._inputs.get(row) for row in rows] == [self._inputs.get(row) for row in given]
        return rows == given


def _tail(path: str) -> str:
    """A variable's path without the name of the model, which counts models."""
    return path.partition("/")[2] or path


def _ids(refs: Iterable[BatchRef]) -> list[int]:
    return [int(row) for ref in refs for row in ref.row_ids if row >= 0]


def batches(calls: Calls, call: Call, known: Known, ids: Sequence[int | None]) -> list[Batch] | None:
    """The batches of a call; None where its rows were not kept. Raises ReplayError where the trace lacks them."""
    rows = call.rows
    if rows is None:
        return None
    places = _places(call, rows.count)
    weights = None if rows.sample_weight is None else calls.arrays([rows.sample_weight])
    if rows.sample_weight is not None and weights is None:
        return None
    leaves = calls.arrays(rows.leaves)
    found = []
    if known.of_one_form(ids):
        every = np.array(ids, np.int64)
        found = [known.batch(every[at]) for at in places]
    elif (
        leaves is not None
        and all(leaf.ndim for leaf in leaves)
        and (rows.y is not None or not call.kind.startswith("predict"))
    ):
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


def _places(call: Call, rows: int) -> list[slice]:
    """Where each batch of a call stands in its rows."""
    if call.sizes is not None:
        return [slice(end - size, end) for size, end in zip(call.sizes, accumulate(call.sizes), strict=True)]
    size = rows if call.kind.endswith("_on_batch") else call.batch_size or DEFAULT_BATCH
    count = rows if call.steps is None else min(rows, call.steps * size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _hands_on_bare(call: Call) -> bool:
    """Whether Keras hands x on by itself, not as the first of a tuple: of arrays that `evaluate` was given without
    targets."""
    rows = call.rows
    if rows is None or rows.sample_weight is not None or call.kind != "evaluate":
        return False
    structure = rows.signature.structure
    return "none" in structure["y"] and not {"tuple", "list"} & set(structure["x"])


def in_batches_of(found: Sequence[Batch], size: int) -> list[Batch]:
    """The same rows in batches of another size."""
    from diagnose.replay.runs import joined

    one, made = joined(found), []
    for start in range(0, one.size, size):
        x, y, weight, rows = (part(v, start, start + size) for v in (one.x, one.y, one.sample_weight, one.rows))
        made.append(replace(one, x=x, y=y, sample_weight=weight, rows=rows, size=len(rows)))
    return made
