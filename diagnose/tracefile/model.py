"""What a trace holds, as plain immutable data. Knows nothing of Keras and nothing of SQLite.

Numbering, everywhere in a trace:

* epochs are 1-based, as Keras prints them;
* `step` is 0-based and counts train steps (optimizer updates) over the whole fit;
* a weights version `v` is the model's variables after `v` updates; step `s` computes at version `s`
  and produces version `s + 1`;
* a digest is 16 bytes (XXH3-128).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

Digest: TypeAlias = bytes
Json: TypeAlias = Any
"""None, bool, int, float, str, list or dict of the same (checked when written)."""

NDArray: TypeAlias = npt.NDArray[Any]

D = TypeVar("D")
"""The detail of an event."""


@dataclass(frozen=True, slots=True)
class State:
    """The contents of the model's variables at one moment.

    `version` is the number of updates that made it, or None for a state that no update made (`label` then says
    what it is: "final", "validation", "callback"). "start": the weights of version 0, or what a callback had made of
    them, with the optimizers' state before the first step. The four group digests are each the digest of the arrays'
    digests in variable order; `seeds` covers seed-generator state, which `get_weights()`/`set_weights()` never touch.
    `arrays` holds one digest per model variable, in the order of `header.variables`; `optimizer_arrays` likewise for
    `header.optimizer_variables` (None: not recorded). `kept` tells whether the contents of `arrays` are in the file.
    """

    state: int
    version: int | None
    label: str
    trainable: Digest
    non_trainable: Digest
    seeds: Digest
    optimizer: Digest | None
    arrays: tuple[Digest, ...]
    optimizer_arrays: tuple[Digest, ...] | None
    kept: bool

    @property
    def weights(self) -> tuple[Digest, Digest]:
        """What `get_weights()` returns, as digests: (trainable, non-trainable without seeds)."""
        return (self.trainable, self.non_trainable)


SeedNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**32)]


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a batch was handed on. `fixed`: to a step that was compiled for its size; `weights`: where its sample weights
    have a column for each of several outputs, the tree they came in, with {"leaf": column}; `shares`: the rows of each
    replica, in order, where they were not split evenly (`replicas.even_shares`); `global_seed`: the state of Keras's
    global seed generator before the step; `bare`: x came by itself, not as the first of a tuple."""

    fixed: bool = False
    weights: Json = None
    shares: tuple[Annotated[int, msgspec.Meta(ge=0, lt=2**53)], ...] | None = None
    global_seed: tuple[SeedNumber, SeedNumber] | None = None
    bare: bool = False


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class BatchRef:
    """One batch, by reference to recorded rows.

    `signature` indexes `Trace.signatures`. `row_ids` is int64 of shape (n,), one id per row of the batch, into the
    content-addressed rows. `sample_weight` is the digest of a stored array (shape (n,) or as Keras passed it), or None.
    `whole` are digests of stored arrays for leaves that have no row axis. `missing` is None, or the
    reason why the contents of this batch are not in the file (row ids are then -1 or point to rows known only by
    digest).
    """

    signature: int | None
    row_ids: npt.NDArray[np.int64]
    sample_weight: Digest | None = None
    whole: tuple[Digest, ...] = ()
    missing: str | None = None
    layout: Layout = PLAIN


@dataclass(frozen=True, slots=True)
class Step:
    """One train step. `metrics_before`/`metrics_after` are the raw bytes of all metric variables, in the order of
    `header.metric_variables`, concatenated; None where they were not recorded. `generator` is the digest of the
    stored state of a process-wide random generator before the step (torch), or None. `seconds` is the mean of the epoch
    where nobody looked at single steps."""

    step: int
    epoch: int
    batch_index: int
    computed_at: int
    produced: int
    batch: BatchRef
    metrics_before: bytes | None
    metrics_after: bytes | None
    generator: Digest | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One validation pass inside the fit. `state` is the id of the `State` it was computed with, `batches` the digest
    of the
    list of batches it went over (`Trace.batches(digest)`), None where they were not recorded. `logs` are without the
    `val_` prefix."""

    evaluation: int
    epoch: int
    after_step: int
    state: int
    batches: Digest | None
    logs: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished epoch: versions `first_version` … `last_version` (its first step computed at the former, its last
    produced the latter) and the logs as Keras passed them to the last callback. `state` is the state at the end of
    the epoch, after
    all callbacks. `learning_rate` is the optimizer's rate during the epoch's last step, None if it cannot be read."""

    epoch: int
    first_version: int
    last_version: int
    logs: Mapping[str, Json]
    state: int
    learning_rate: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Event(Generic[D]):
    """Something that happened, in order. `detail` is of the class that `events.KINDS` names for its kind, and plain
    JSON for a kind that is not there. `Trace.events_of` finds those of one class."""

    seq: int
    kind: str
    epoch: int | None
    step: int | None
    detail: D


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of a batch: its dtype name, and the shape of one row (without the batch axis). `whole` leaves have no
    row axis."""

    dtype: str
    shape: tuple[int, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """How a batch is built from its leaves.

    `structure` is JSON: {"x": node, "y": node} where a node is {"leaf": i}, {"list": [nodes]}, {"tuple": [nodes]},
    {"dict": {name: node}}, {"none": true}, or a value of several arrays (`trace.composite`), {"ragged": [nodes]},
    {"sparse": [nodes]}, {"strings": [nodes]}; `i` indexes `leaves`. Sample weights are not part of it: they may differ
    each time a row is used, so they are stored per batch.
    """

    structure: Json
    leaves: tuple[Leaf, ...]

    @property
    def row_nbytes(self) -> int:
        """Bytes of one packed row: the row-wise leaves one after the other, in order, C order, little endian."""
        total = 0
        for leaf in self.leaves:
            if not leaf.whole:
                count = 1
                for n in leaf.shape:
                    count *= n
                total += count * itemsize(leaf.dtype)
        return total


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch with its contents: trees of read-only NumPy arrays. `rows` are the ids of its rows. `weight_tree`,
    `fixed`, `shares`, `global_seed` and `bare` are those of its `Layout`."""

    x: Any
    y: Any
    sample_weight: NDArray | None
    rows: npt.NDArray[np.int64]
    size: int = field(default=0)
    weight_tree: Json = None
    fixed: bool = False
    shares: tuple[int, ...] | None = None
    global_seed: tuple[int, int] | None = None
    bare: bool = False


_ITEMSIZE = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip

DTYPES = frozenset(_ITEMSIZE)
"""The dtypes a trace may hold; anything else is refused when written and when read."""


def itemsize(dtype: str) -> int:
    """Bytes per element of a dtype named in `DTYPES`; KeyError for any other."""
    return _ITEMSIZE[dtype]
