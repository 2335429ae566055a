"""Which recorded version a set of weights is: by digest where one matches, else by what of it matches, else by
distance."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diagnose.errors import ReplayError
from diagnose.identify.averages import average_of
from diagnose.identify.held import Held, held_by_file, held_by_model, weights_of
from diagnose.identify.identification import Difference, Identification, Nearest, OptimizerState, Place
from diagnose.result.texts import Said, Text
from diagnose.tracefile.about import Variable
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import Digest, State
from diagnose.tracefile.reader import Trace

MOST_COMPARED_BYTES = 2 << 30
"""Contents read in search of the nearest version; beyond, only ends of epochs are compared."""


def identify_model_or_file(trace: Trace, model_or_file: Any) -> Identification:
    """Identifies a Keras model or the file at a path."""
    if isinstance(model_or_file, (str, Path)):
        return identify(trace, held_by_file(trace, Path(model_or_file)))
    return identify(trace, held_by_model(trace, model_or_file))


def identify(trace: Trace, held: Held) -> Identification:
    """Compares held weights with everything that was recorded."""
    weights = weights_of(trace)
    digests = {i: array_digest(array) for i, array in held.arrays.items()}
    whole = len(digests) == len(weights) and not held.unassigned
    groups = {name: [i for i in digests if weights[i].group == name] for name in ("trainable", "non_trainable")}
    # What a model held before it made variables of its own in its first step is none of these.
    states = [s for s in trace.states if len(s.arrays) >= len(weights)]
    versions = [s for s in states if s.version is not None and s.label == "version"]
    stand = _Places(trace)

    def matching(indices: Iterable[int]) -> tuple[Place, ...]:
        wanted = [(i, digests[i]) for i in indices]
        found = {s.version for s in versions if wanted and all(s.arrays[i] == d for i, d in wanted)}
        return tuple(stand.of(v) for v in sorted(v for v in found if v is not None))

    places = matching(digests) if whole else ()
    same = [s for s in states if whole and all(s.arrays[i] == d for i, d in digests.items())]
    moments = () if places else _moments(trace, same)
    average = None if places else average_of(trace, held, weights)
    best: State | None = None
    if not (places or average or moments):
        best = _most_like(versions, digests, weights)
        if best is not None:
            equal = {i for i, d in digests.items() if best.arrays[i] == d}
            places = matching(equal)
    exact = bool(same)
    kind: Literal["exact", "partial", "average", "none"]
    kind = "average" if average else "exact" if exact else "partial" if places else "none"
    differing = [] if best is None else [i for i, d in digests.items() if best.arrays[i] != d]
    final = trace.final
    return Identification(
        source=held.source,
        trace=str(trace.path),
        kind=kind,
        variables=len(weights),
        matched=len(digests) - len(differing) if exact or best is not None else 0,
        places=places,
        trainable=matching(groups["trainable"]),
        non_trainable=matching(groups["non_trainable"]),
        moments=moments,
        differences=tuple(
            _difference(trace, held, best, i, digests[i], versions) for i in differing if best is not None
        ),
        average=average,
        nearest=_nearest(trace, held, versions) if kind == "none" else None,
        optimizer=_optimizer(trace, held),
        after_fit=None if final is None else bool(final in same),
        held_after_fit=() if final is None else tuple(map(stand.of, trace.index.versions_of(final))),
        unassigned=held.unassigned,
        notes=held.notes,
    )


class _Places:
    """The epochs that versions stand in."""

    def __init__(self, trace: Trace) -> None:
        self._epochs = sorted(trace.epochs, key=lambda e: e.last_version)
        self._ends = [e.last_version for e in self._epochs]
        self._made = {step.produced: step.epoch for step in reversed(trace.steps)}

    def of(self, version: int) -> Place:
        at = bisect_left(self._ends, version)
        if at < len(self._epochs) and self._epochs[at].first_version < version:
            return Place(version, self._epochs[at].epoch, version == self._ends[at])
        return Place(version, self._made.get(version), False)  # of an epoch that did not end


WRITTEN = Text("moment.written", "written by {who} by the end of {hook}{epoch:given( (epoch {epoch}))}")
KERAS_OR_SCRIPT = Text("moment.keras-or-script", "Keras or the script")
HELD_AT = Text("moment.held-at", "held at the end of epoch {epoch}, after all callbacks")
HELD_AFTER = Text("moment.held-after", "held after fit")


def _moments(trace: Trace, states: list[State]) -> tuple[Said, ...]:
    """What recorded states are that no update made."""
    found = []
    writers = {e.detail.after: e for e in trace.events_of(WeightsChanged)}
    for state in states:
        if state.state in writers:
            event = writers[state.state]
            who = event.detail.callback or KERAS_OR_SCRIPT()
            found.append(WRITTEN(who=who, hook=str(event.detail.hook), epoch=event.epoch))
        elif state.label == "epoch-end":
            epoch = next((e.epoch for e in trace.epochs if e.state == state.state), None)
            found.append(HELD_AT(epoch=epoch))
        elif state.label == "final":
            found.append(HELD_AFTER())
    return tuple(dict.fromkeys(found))


def _most_like(versions: list[State], digests: dict[int, Digest], weights: dict[int, Variable]) -> State | None:
    """The version that most weights are of, counting only variables that moved in this fit: one that never did is in
    all of them. All trainable ones count for more than any part; then the number of elements, then the latest."""
    moved = {i for i in digests if len({s.arrays[i] for s in versions}) > 1}
    trainable = {i for i in digests if weights[i].group == "trainable"}

    def likeness(state: State) -> tuple[bool, int, int]:
        equal = {i for i in moved if state.arrays[i] == digests[i]}
        whole = bool(trainable & moved) and (trainable & moved) <= equal
        return whole, sum(math.prod(weights[i].shape) for i in equal), state.version or 0

    best = max(versions, key=likeness, default=None)
    return best if best is not None and likeness(best)[1] else None


def _difference(trace: Trace, held: Held, state: State, i: int, digest: Digest, versions: list[State]) -> Difference:
    variable = trace.header.variables[i]
    array = held.arrays[i]
    try:
        if not state.kept:
            raise ReplayError("only its digests are kept")
        recorded = trace.array(state.arrays[i])
        # Bit by bit: NaN equals NaN, and 0.0 is not -0.0, as for digests.
        a, b = (np.ascontiguousarray(x).reshape(x.size).view(np.uint8).reshape(x.size, -1) for x in (array, recorded))
        different = int((a != b).any(axis=1).sum()) if a.shape == b.shape else int((array != recorded).sum())
    except ReplayError:
        different = None
    known = sorted({s.version for s in versions if s.version is not None and s.arrays[i] == digest})
    return Difference(variable.path, variable.group, int(array.size), different, tuple(known))


def _nearest(trace: Trace, held: Held, versions: list[State]) -> Nearest | None:
    kept: dict[int, State] = {s.version: s for s in versions if s.kept and s.version is not None}
    for epoch in trace.epochs:  # contents of a version that was not kept may be those of the epoch's end
        end = trace.states[epoch.state]
        made = trace.version(epoch.last_version)
        if made is not None and end.kept and end.weights == made.weights:
            kept.setdefault(epoch.last_version, end)
    nbytes = sum(a.nbytes for a in held.arrays.values())
    if nbytes * len(kept) > MOST_COMPARED_BYTES:
        ends = {e.last_version for e in trace.epochs}
        kept = {v: s for v, s in kept.items() if v in ends}
    known: dict[tuple[int, Digest], tuple[float, float]] = {}
    distances = {v: _distance(trace, held, s, known) for v, s in kept.items()}
    finite = {v: d for v, d in distances.items() if math.isfinite(d)}
    if not finite:
        return None
    version = min(finite, key=lambda v: (finite[v], -v))
    return Nearest(_Places(trace).of(version), finite[version], len(distances))


def _distance(trace: Trace, held: Held, state: State, known: dict[tuple[int, Digest], tuple[float, float]]) -> float:
    """`known`: the two sums of what was compared before, as versions may share contents."""
    square = norm = 0.0
    for i, array in held.arrays.items():
        key = i, state.arrays[i]
        if key not in known:
            recorded = trace.array(state.arrays[i]).astype(np.float64)
            known[key] = float(np.sum((array.astype(np.float64) - recorded) ** 2)), float(np.sum(recorded**2))
        square += known[key][0]
        norm += known[key][1]
    return math.sqrt(square / norm) if norm else math.inf if square else 0.0


def _optimizer(trace: Trace, held: Held) -> OptimizerState | None:
    if held.optimizer is None:
        return None
    final = trace.final
    # As sets: an optimizer inside another (`LossScaleOptimizer`) stands in a file twice, and before the outer one.
    wanted = set(held.optimizer)
    recorded = {e.epoch: trace.states[e.state].optimizer_arrays for e in trace.epochs}
    ends = tuple(epoch for epoch, slots in recorded.items() if slots is not None and set(slots) == wanted)
    after = final is not None and final.optimizer_arrays is not None and set(final.optimizer_arrays) == wanted
    known = sum(slots is not None for slots in recorded.values())
    return OptimizerState(len(held.optimizer), ends, after, known)
