"""Where a number of a fit first was not finite: in weights that somebody wrote, in rows, in a layer, in the loss or in
an update. The data are looked at first, then one step is run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from diagnose.decide import not_finite
from diagnose.decide.clock import writer
from diagnose.errors import ReplayError
from diagnose.replay.replayer import Replayer
from diagnose.replay.runs import BatchRun
from diagnose.result.measurements import Origin
from diagnose.tracefile.model import Batch, BatchRef, NDArray, State
from diagnose.tracefile.reader import Trace

MOST_NAMED: Final = 10

Given = Literal["rows", "labels", "sample-weights"]


def origin(trace: Trace, replayer: Replayer | None) -> Origin | None:
    """None where every number is finite, or where it began is not recorded."""
    batch, weights = not_finite.first_batch(trace), not_finite.first_weights(trace)
    begun = [] if batch is None or batch.step is None else [batch.step]
    if weights is not None and weights.version is not None:
        begun.append(max(weights.version - 1, 0))
    if not begun:
        logged = not_finite.first_logged(trace)
        return None if logged is None else _in_validation(trace, logged.epoch)
    step = next((s for s in trace.steps if s.step == min(begun)), None)
    state = None if step is None else trace.index.computed_with(step)
    if step is None or state is None:
        return None
    found = Origin("update", step.epoch, step.step, step.batch_index + 1)
    kept = trace.index.kept(state)
    if kept is not None and not_finite.bad_variables(trace, kept):
        return replace(found, cause="weights", name=writer(trace, state) if state.label == "changed" else None)
    given = _in_data(trace, step.batch)
    if given is not None:
        cause, rows = given
        return _with_rows(replace(found, cause=cause), rows, _places(trace, step.batch))
    if replayer is None:
        return None
    found = replace(found, largest=_largest(trace, kept), initially=_largest(trace, trace.version(0)))
    data = trace.batch(step.batch)
    values = replayer.states.values(replayer.states.before(step))
    where = replayer.engine.not_finite(BatchRun(values, data, data.sample_weight, step, data.fixed))
    by_metric = where.cause == "update" and batch is not None and batch.step == step.step and batch.metric != "loss"
    if by_metric and batch is not None and (weights is None or weights.version != step.produced):
        return replace(found, cause="metric", name=batch.metric)
    found = replace(found, cause=where.cause, name=where.name, kind=where.kind, zeros=where.zeros)
    return _with_rows(found, where.rows, _places(trace, step.batch))


def _in_validation(trace: Trace, epoch: int) -> Origin | None:
    """Rows of the epoch's validation pass, which come in the order they were given."""
    passed = trace.index.validation_of(epoch)
    if passed is None or passed.batches is None:
        return None
    start = 0
    for ref in trace.batches(passed.batches):
        given = _in_data(trace, ref)
        if given is not None:
            cause, rows = given
            return _with_rows(Origin(cause, epoch), [start + row for row in rows], None)
        start += len(ref.row_ids)
    return None


def _in_data(trace: Trace, ref: BatchRef) -> tuple[Given, list[int]] | None:
    """What of a batch's data is not finite, and in which of its rows."""
    try:
        data: Batch = trace.batch(ref)
    except ReplayError:
        return None
    parts: tuple[tuple[Given, Any], ...] = (
        ("rows", data.x),
        ("labels", data.y),
        ("sample-weights", data.sample_weight),
    )
    for cause, tree in parts:
        rows = {row for array in _arrays(tree) for row in _bad_rows(array)}
        if rows:
            return cause, sorted(rows)
    return None


def _bad_rows(array: NDArray) -> Iterator[int]:
    if array.dtype.kind == "f" and array.ndim and not np.isfinite(array).all():
        yield from np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).tolist()


def _arrays(tree: Any) -> Iterator[NDArray]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from _arrays(each)
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _arrays(each)


def _places(trace: Trace, ref: BatchRef) -> list[list[int]] | None:
    """Of each row of the batch, its places in the arrays given to fit, several where rows are alike; None where that is
    not known."""
    places: dict[int, list[int]] = {}
    for place, row in enumerate(int(i) for order in trace.given_order() for i in order.row_ids):
        places.setdefault(row, []).append(place)
    found = [places.get(int(row), []) for row in ref.row_ids]
    return found if found and all(found) else None


def _with_rows(found: Origin, rows: Sequence[int], places: Sequence[Sequence[int]] | None) -> Origin:
    named = sorted(set(rows) if places is None else {at for row in rows if row < len(places) for at in places[row]})
    return replace(found, rows=tuple(named[:MOST_NAMED]), count=len(named), given=places is not None)


def _largest(trace: Trace, state: State | None) -> float | None:
    if state is None or not state.kept:
        return None
    arrays = [a for a in trace.arrays(state) if a.dtype.kind == "f" and a.size]
    return max((float(np.max(np.abs(a))) for a in arrays), default=None)
