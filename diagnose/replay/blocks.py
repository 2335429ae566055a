"""Many batches in one go: what of a replay a compiler can loop over by itself. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diagnose.replay.runs import BatchRun, weights_as_given
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.rows import leaves_of

MOST_RUNS = 64
MOST_BYTES = 64 << 20
"""Of one block: batches, and the variables' values they are forwarded with."""


@dataclass(slots=True)
class Passed:
    """What some batches left behind, one after the other, in some modes."""

    metrics: list[list[Any]]
    """Metric state after the last, for each mode."""
    left: list[Any]
    """What is handed to the next batch, for each mode; None: nothing."""
    each: list[list[NDArray]] = field(default_factory=list)
    """Metric state of the first mode after each batch."""
    penalties: list[list[float | None]] = field(default_factory=list)
    """Those in the loss of each batch, for each mode."""
    logs: list[Mapping[str, Any] | None] = field(default_factory=list)
    """What the last step of the user's own returned, for each mode."""


def blocks(runs: Iterable[BatchRun]) -> Iterator[list[BatchRun]]:
    """The runs in order, in lists of bounded size."""
    found: list[BatchRun] = []
    size = 0
    for run in runs:
        size += _bytes(run, found[-1] if found else None)
        if found and (size > MOST_BYTES or len(found) == MOST_RUNS):
            yield found
            found, size = [], _bytes(run, None)
        found.append(run)
    if found:
        yield found


def _bytes(run: BatchRun, before: BatchRun | None) -> int:
    own = sum(getattr(leaf, "nbytes", 0) for leaf in (*leaves_of(run.batch.x), *leaves_of(run.batch.y)))
    return own if before is not None and before.values is run.values else own + sum(a.nbytes for a in run.arrays or ())


def alike(runs: Sequence[BatchRun]) -> Iterator[tuple[Form | None, list[BatchRun]]]:
    """Neighbours that can be stacked, with what they have in common; None for one that has to be run by itself."""
    found: list[BatchRun] = []
    common: Form | None = None
    for run in runs:
        form = Form.of(run)
        if found and (form is None or form != common):
            yield common, found
            found = []
        found.append(run)
        common = form
    if found:
        yield common, found


@dataclass(frozen=True, slots=True)
class Form:
    """What runs have in common that can be stacked: the structure of their batches, with shapes and dtypes."""

    fixed: bool
    bare: bool
    x: Any
    y: Any
    weight: Any

    @classmethod
    def of(cls, run: BatchRun) -> Form | None:
        """None: it is spread over replicas, draws from a generator outside the model, or holds what is no array."""
        batch, step = run.batch, run.step
        outside = batch.global_seed is not None or (step is not None and step.generator is not None)
        if run.shares is not None or len(run.values) != 1 or run.arrays is None or outside:
            return None
        try:
            weight = weights_as_given(run.sample_weight, batch.weight_tree)
            return cls(run.fixed, batch.bare, _form(batch.x), _form(batch.y), _form(weight))
        except TypeError:
            return None


def _form(tree: Any) -> Any:
    """Hashable, and equal for trees that can be stacked. TypeError for what is no array."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return tuple((key, _form(value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return (type(tree).__name__, *(_form(value) for value in tree))
    if not isinstance(tree, np.ndarray):
        raise TypeError(type(tree).__name__)
    return str(tree.dtype), tree.shape


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays of one form as one, with a first axis over them."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {key: stacked([tree[key] for tree in trees]) for key in first}
    if isinstance(first, (list, tuple)):
        return type(first)(stacked([tree[place] for tree in trees]) for place in range(len(first)))
    return np.stack(trees)
