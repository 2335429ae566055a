"""What is remembered of a script's own `evaluate` and `predict`, within bounds. Knows no model and no file.

The trace of a fit is sealed when the fit ends, and most of these calls come later: they stay in the process that made
them, and what analysis finds about them stands in the diagnosis.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from diagnose.record.batches import TakenBatch
from diagnose.tracefile.digest import array_digest, row_digests
from diagnose.tracefile.model import Digest, Json, NDArray, Signature
from diagnose.tracefile.rows import build, leaves_of, pack_rows

Kind = Literal["evaluate", "predict", "test_on_batch", "predict_on_batch"]

MOST_CALLS: Final = 1000
"""Of one fit. Those beyond are counted."""

MOST_ROWS: Final = 1 << 18
"""Of one call that are told apart; of more there is one digest of each array."""

MOST_BYTES: Final = 64 << 20
"""What all calls of a process keep of rows and weights, which are there once however often they come. What is beyond
has digests only: its rows and weights are looked for in the trace."""

_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class CallRows:
    """The arrays that a call was given, in their order. `both`, `x` and `y`: a digest of each row of x and y together,
    as a trace has them, and of either alone; None where the rows are too many or cannot be told apart."""

    signature: Signature
    count: int
    leaves: tuple[Digest, ...]
    both: tuple[Digest, ...] | None
    x: tuple[Digest, ...] | None
    y: tuple[Digest, ...] | None
    sample_weight: Digest | None
    weight_tree: Json


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `epoch`: that it was made in, None after the fit. `same_model`: of the model object that the fit
    trained; `same_compile`: with what `compile` had made for the fit, or the same again (None: not known); `otherwise`:
    by name in the logs, what computes its value in this call and what did in the fit, where these are not the same
    (None: nothing of that name), and `compiled`, what computed them. `returned`: by name; empty for predictions, which
    have digests. `rows`: None where they are not known, and `why` says why; `sizes`: of their batches, where they came
    in batches. `weights`: a digest of each variable; `paths`, `shapes`: theirs, of another model object. `before`: how
    many of the rows earlier fits had trained the weights on that this one began with; `of_fit`: whether they came from
    what fit was given as x."""

    kind: Kind
    file: str
    line: int
    epoch: int | None
    same_model: bool
    same_compile: bool | None
    batch_size: int | None
    steps: int | None
    sizes: tuple[int, ...] | None
    returned: Mapping[str, float]
    predictions: tuple[Digest, ...] | None
    rows: CallRows | None
    why: str | None
    weights: tuple[Digest, ...]
    before: int = 0
    of_fit: bool = False
    paths: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    compiled: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    otherwise: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass
class Calls:
    """The calls that belong to one fit, in order, and what is kept of their contents, by digest."""

    made: list[Call] = field(default_factory=list)
    left_out: int = 0
    contents: dict[Digest, NDArray] = field(default_factory=dict)
    error: str | None = None
    """What went wrong in recording one; none is recorded after it."""

    def __post_init__(self) -> None:
        self._held = _Bytes()
        _HOLDERS.add(self._held)

    def add(self, call: Call) -> None:
        with _LOCK:
            self.made.append(call)

    @property
    def full(self) -> bool:
        return len(self.made) >= MOST_CALLS

    def keep(self, arrays: Sequence[NDArray]) -> tuple[Digest, ...]:
        """The digests of these arrays, which are copied where there is room for all of them."""
        digests = tuple(map(array_digest, arrays))
        new = {d: a for d, a in zip(digests, arrays, strict=True) if d not in self.contents}
        nbytes = sum(a.nbytes for a in new.values())
        with _LOCK:
            if sum(holder.nbytes for holder in _HOLDERS) + nbytes > MOST_BYTES:
                return digests
            self._held.nbytes += nbytes
        self.contents |= {d: a.copy() for d, a in new.items()}
        return digests

    def keep_rows(self, taken: TakenBatch) -> CallRows:
        """The rows of a call; their contents, too, where there is room."""
        leaves = self.keep(taken.leaves)
        weight = None if taken.sample_weight is None else self.keep([taken.sample_weight])[0]
        both = x = y = None
        if not taken.whole and taken.rows <= MOST_ROWS:
            own = len(leaves_of(build(taken.signature.structure["x"], taken.leaves)))
            both, x, y = (_digests(part) for part in (taken.leaves, taken.leaves[:own], taken.leaves[own:]))
        count = taken.rows or max((len(a) for a in taken.leaves if a.ndim), default=0)
        return CallRows(taken.signature, count, leaves, both, x, y, weight, taken.weight_tree)

    def arrays(self, digests: Sequence[Digest]) -> list[NDArray] | None:
        """The contents of these digests; None where one was not kept."""
        found = [self.contents.get(digest) for digest in digests]
        kept = [array for array in found if array is not None]
        return kept if len(kept) == len(found) else None


def _digests(leaves: Sequence[NDArray]) -> tuple[Digest, ...] | None:
    if not leaves:
        return None
    found: list[Digest] = []
    for start in range(0, len(leaves[0]), _AT_ONCE):  # packing copies
        found += row_digests(pack_rows([leaf[start : start + _AT_ONCE] for leaf in leaves]))
    return tuple(found)


class _Bytes:
    """How much one holds; gone with it."""

    nbytes = 0


_HOLDERS: weakref.WeakSet[Any] = weakref.WeakSet()
_LOCK = threading.RLock()
