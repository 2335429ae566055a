"""Gives a trace the contents it knows by digest only, from the data they came from. Each is taken by its digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diagnose.replay.engine import EngineFactory
from diagnose.replay.evaluation import as_columns, as_parts
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import BatchRef, Digest, NDArray
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import as_recorded_leaves, leaves_of, pack_rows


def supply(trace: Trace, data: Any, factory: EngineFactory) -> int:
    """Gives a trace the contents of rows it knows by digest only, and of sample weights, from the data they came from
    (as for `evaluation.given`).

    Returns:
        how many rows were found by their digests.

    Raises:
        DiagnoseError: the data is of another form.
    """
    found = 0
    weights: dict[tuple[int, Digest], NDArray] = {}
    for part in as_parts(data, factory):
        x, y, weight = (*part, None, None)[:3]
        leaves = [*leaves_of(factory.arrays(x)), *leaves_of(factory.arrays(y))]
        columns = None if weight is None else as_columns(factory.arrays(weight))[0]
        for number, signature in enumerate(trace.signatures):
            fitted = as_recorded_leaves(leaves, signature.leaves)
            if fitted is not None:
                found += trace.supply(fitted, number)
                if columns is not None:
                    keys = ((number, digest) for digest in row_digests(pack_rows(fitted)))
                    weights.update(zip(keys, columns, strict=False))
    if weights:
        _supply_weights(trace, weights)
    return found


def _supply_weights(trace: Trace, weights: dict[tuple[int, Digest], NDArray]) -> None:
    """Puts the weights of a batch together from those of its rows. Where equal rows have several weights, that fails,
    and the batch stays without."""
    for ref in _batches(trace):
        if ref.sample_weight is None or ref.signature is None or not trace.lacks(ref.sample_weight):
            continue
        try:
            made = np.stack([weights[ref.signature, trace.row_digest(int(row))] for row in ref.row_ids])
        except (KeyError, ValueError):
            continue
        for array in _forms(made):
            if trace.supply_array(array, ref.sample_weight):
                break


def _batches(trace: Trace) -> Iterator[BatchRef]:
    yield from (step.batch for step in trace.steps)
    for evaluation in trace.evaluations:
        if evaluation.batches is not None:
            yield from trace.batches(evaluation.batches)


def _forms(made: NDArray) -> Iterator[NDArray]:
    """In the dtypes and shapes that they may have been handed to the train step in."""
    for array in (made, made.astype("float32")):
        yield from (array, *(array.reshape(shape) for shape in ((-1,), (-1, 1)) if array.size == len(array)))
