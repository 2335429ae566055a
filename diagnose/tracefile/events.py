"""The details of events, typed: one class per kind, in the table `KINDS`. Other kinds are let be. Judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from diagnose.tracefile.about import Callback, Count, Number, Part, typed
from diagnose.tracefile.model import Json


class ByCallback(Part, frozen=True, kw_only=True):
    """Who did it, and in which hook. `callback` None: Keras or the script, before any callback ran the hook."""

    callback: str | None
    hook: str | None = None


class WeightsChanged(ByCallback, frozen=True, kw_only=True):
    """Weights were changed outside a train step: the states before and after; `groups` are those that differ."""

    before: Count
    after: Count
    groups: tuple[str, ...] = ()


class StopRequested(ByCallback, frozen=True, kw_only=True):
    """`model.stop_training` was set."""


class OptimizerChanged(ByCallback, frozen=True, kw_only=True):
    """A callback that is not Keras's own changed the optimizer's state, but for its rate, at the beginning or end of an
    epoch or at the end of the fit."""


class LearningRate(ByCallback, frozen=True, kw_only=True):
    """The optimizer's rate was changed; None: a schedule, or not to be read."""

    before: Number | None
    after: Number | None


class MetricsReset(ByCallback, frozen=True, kw_only=True):
    """The metrics' variables were changed between two steps of an epoch, or after its last; the event's `step`: steps
    done until then."""


class ChangesLeftOut(ByCallback, frozen=True, kw_only=True):
    """Once, at the first: beside steps that are not recorded, what callbacks changed between them is not either."""


class CallbacksFinal(Part, frozen=True, kw_only=True):
    """The callbacks as they are after the fit."""

    callbacks: tuple[Callback, ...]


class FileSaved(ByCallback, frozen=True, kw_only=True):
    """A `ModelCheckpoint`, or a callback of the user's own, entry `place` of the header's callbacks, wrote a file."""

    place: Count
    version: Count
    path: str
    bytes: Count | None = None


Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class WeightsKept(ByCallback, frozen=True, kw_only=True):
    """At the end of the fit, an attribute of a callback (entry `place` of the header's callbacks), or a name that its
    functions use, holds weights of the model's shapes: digests as those of a state, `non_trainable` None where it holds
    the trainable ones alone. `arrays`: a Python expression for them, in a method of the callback."""

    place: Count
    attribute: str
    arrays: str | None = None
    trainable: Hex
    non_trainable: Hex | None = None


class OutsideChanged(Part, frozen=True, kw_only=True):
    """A number outside the model's variables, which `of` (its loss, a metric, a layer or a callback) holds under
    `name`, is another than at the last look. `plain`: it is in no variable, so that a compiled step may go by the value
    it had when it was compiled (None: not noted)."""

    of: str
    name: str
    before: Number
    after: Number
    plain: bool | None = None


class FileReplaced(Part, frozen=True, kw_only=True):
    """The file at `path` took the place of one that an earlier fit of the process had saved, in its trace `trace` and
    (1-based) epoch, which had these numbers in its log."""

    path: str
    trace: str
    epoch: Count
    logs: dict[str, Json]


class TrainedBefore(Part, frozen=True, kw_only=True):
    """Earlier fits of the process trained the weights this fit began with on `rows` of the rows of a validation pass
    (from 0), told once for passes over the same batches; `known`: distinct rows that they are known to have used."""

    evaluation: Count
    rows: Count
    known: Count


class TrainEnd(Part, frozen=True, kw_only=True):
    """All callbacks ran their `on_train_end`, which left the state `state`."""

    state: Count


class ReplicaShares(Part, frozen=True, kw_only=True):
    """Format 1: how the batch of the event's step, or a batch of a validation pass (both from 0), was split."""

    rows: tuple[Count, ...]
    evaluation: Count | None = None
    batch: Count | None = None


class TracerError(Part, frozen=True, kw_only=True):
    """Tracing stopped here, by an error of its own."""

    error: str | None = None
    traceback: str | None = None


class TracingStopped(Part, frozen=True, kw_only=True):
    """Tracing stopped here, through no error: the trace is full, or the disk stands still."""

    reason: str | None = None


class Limit(Part, frozen=True, kw_only=True):
    """Something is not kept from here on (`record.budget.Tier`)."""

    what: str
    reason: str | None = None


class LevelChanged(Part, frozen=True, kw_only=True):
    """From the event's `step` on (steps done until then) the fit was recorded at `level`, and at `before` until then:
    recording a step took `own` seconds of processor time there, and the fit's own part of it `fit` seconds, of which a
    share of `overhead` was allowed."""

    level: Count
    before: Count
    own: Number
    fit: Number
    overhead: Number


KINDS: Final[Mapping[str, type[Part]]] = {
    "weights-changed": WeightsChanged,
    "stop-requested": StopRequested,
    "optimizer-changed": OptimizerChanged,
    "learning-rate": LearningRate,
    "metrics-reset": MetricsReset,
    "changes-left-out": ChangesLeftOut,
    "callbacks-final": CallbacksFinal,
    "file-saved": FileSaved,
    "weights-kept": WeightsKept,
    "outside-changed": OutsideChanged,
    "file-replaced": FileReplaced,
    "trained-before": TrainedBefore,
    "train-end": TrainEnd,
    "replica-shares": ReplicaShares,
    "tracer-error": TracerError,
    "tracing-stopped": TracingStopped,
    "limit": Limit,
    "level": LevelChanged,
}


def detail(kind: str, value: Mapping[str, Json]) -> Part | Mapping[str, Json]:
    """The detail of an event of this kind. Raises ValueError, with the place of what is wrong."""
    wanted = KINDS.get(kind)
    return value if wanted is None else typed(value, wanted, f"in an event {kind!r}")
