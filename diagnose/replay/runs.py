"""One batch to forward, its parts on each replica, and all batches of an evaluation. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.result.texts import Text
from diagnose.tracefile.model import Batch, Json, NDArray, Step
from diagnose.tracefile.replicas import part
from diagnose.tracefile.rows import build


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One batch and what it is forwarded with."""

    values: Sequence[Sequence[Any]]
    """The variables' values, of each replica."""
    batch: Batch
    sample_weight: NDArray | None
    step: Step | None
    fixed: bool
    """Whether to compile for this batch size, as fit or `evaluate` did: some values depend on it."""
    shares: tuple[int, ...] | None = None
    """The rows of each replica, in order; None where one replica has all of them."""
    arrays: Sequence[NDArray] | None = None
    """The contents of the variables, where there is one replica."""

    def parts(self) -> Iterator[tuple[Sequence[Any], Any, Any, NDArray | None, int]]:
        """(values, x, y, sample_weight, rows) of each replica."""
        x, y, weight = self.batch.x, self.batch.y, self.sample_weight
        if self.shares is None:
            yield self.values[0], x, y, weight, self.batch.size
            return
        start = 0
        for values, rows in zip(self.values, self.shares, strict=True):
            stop = start + rows
            yield values, part(x, start, stop), part(y, start, stop), part(weight, start, stop), rows
            start = stop


FIRST_EPOCH = Text("data.first-epoch", "the batches of the first epoch")


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """`source` says which rows these are; `batch_size` is that of all batches but the last."""

    source: str
    batches: tuple[Batch, ...]
    batch_size: int

    @property
    def composite(self) -> bool:
        """Whether it holds ragged, sparse or string values, which only batches as recorded can be made of."""
        return self.source == FIRST_EPOCH.template

    @property
    def rows(self) -> int:
        return sum(batch.size for batch in self.batches)


COARSE_ROWS = 512


def larger_batches(batches: Sequence[Batch]) -> list[Batch]:
    """The same rows in the same order, in batches of `COARSE_ROWS` at least. Batches that cannot be joined (ragged,
    sparse or string values, other structures) stay as they are."""
    found: list[Batch] = []
    waiting: list[Batch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(b.size for b in waiting) >= COARSE_ROWS:
            found, waiting = [*found, *_joined(waiting)], []
    return [*found, *_joined(waiting)]


def _joined(batches: list[Batch]) -> list[Batch]:
    if len({b.sample_weight is None for b in batches}) != 1:
        return batches
    try:
        return [joined(batches)]
    except (TypeError, ValueError, KeyError, IndexError):
        return batches


def joined(batches: Sequence[Batch]) -> Batch:
    """All rows as one batch, with sample weights where every batch has them. TypeError for what is no array."""
    weights = [b.sample_weight for b in batches if b.sample_weight is not None]
    x, y = (_concatenated([getattr(b, name) for b in batches]) for name in ("x", "y"))
    weight = np.concatenate(weights) if len(weights) == len(batches) else None
    rows = np.concatenate([b.rows for b in batches])
    return Batch(x, y, weight, rows, len(rows), batches[0].weight_tree, bare=batches[0].bare)


def _concatenated(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {k: _concatenated([t[k] for t in trees]) for k in first}
    if isinstance(first, (list, tuple)):
        return type(first)(_concatenated([t[i] for t in trees]) for i in range(len(first)))
    if not isinstance(first, np.ndarray):
        raise TypeError(type(first).__name__)
    return np.concatenate(trees)


def weights_as_given(weight: NDArray | None, tree: Json) -> Any:
    """Sample weights as `fit` got them: those with a column for each of several outputs in their tree."""
    if weight is None or tree is None:
        return weight
    return build(tree, [np.ascontiguousarray(weight[:, column]) for column in range(weight.shape[1])])


def by_row(batches: Iterable[tuple[NDArray, NDArray | None]]) -> dict[int, Any]:
    """Sample weight by row id; rows without one are left out."""
    found: dict[int, Any] = {}
    for rows, weights in batches:
        if weights is not None:
            found.update(zip(rows.tolist(), weights, strict=True))
    return found


def weights_of(rows: NDArray, weights: Mapping[int, Any]) -> NDArray | None:
    """The weights of these rows, 1 where a row has none; None where no row has any (as without sample weights)."""
    if not weights:
        return None
    one = np.ones_like(next(iter(weights.values())))
    return np.stack([weights.get(row, one) for row in rows.tolist()])
