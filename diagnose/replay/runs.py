"""One batch to forward, and its parts on each replica. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.trace.model import Batch, NDArray, Step
from diagnose.trace.replicas import part


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One batch and what it is forwarded with."""

    values: list[list[Any]]
    """The variables' values, of each replica."""
    batch: Batch
    sample_weight: NDArray | None
    step: Step | None
    fixed: bool
    """Whether to compile for this batch size, as fit or `evaluate` did: some of Keras's values depend on it."""
    shares: tuple[int, ...] | None = None
    """The rows of each replica, in order; None where one replica has all of them."""

    def parts(self) -> Iterator[tuple[list[Any], Any, Any, NDArray | None]]:
        """(values, x, y, sample_weight) of each replica."""
        x, y, weight = self.batch.x, self.batch.y, self.sample_weight
        if self.shares is None:
            yield self.values[0], x, y, weight
            return
        start = 0
        for values, rows in zip(self.values, self.shares, strict=True):
            stop = start + rows
            yield values, part(x, start, stop), part(y, start, stop), part(weight, start, stop)
            start = stop


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
