"""Rows of a call that are fit's but not the same: other inputs for the same labels, or other labels for the same
inputs. Replays nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from diagnose.analysis.call_data import Known
from diagnose.analysis.label_maps import labels_between
from diagnose.analysis.maps import between
from diagnose.record.call_items import Call, Calls
from diagnose.result.calls import CallRows as RowsFound
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import Batch, Digest, NDArray
from diagnose.tracefile.rows import leaves_of, pack_rows


@dataclass(frozen=True, slots=True)
class Changed:
    """`ids`: the recorded rows; `x`, `y`: what the call gave in their place, None: the same. `inputs`: for the same
    values with the inputs as fit had them, where these are not the recorded ones by the last bit."""

    rows: RowsFound
    ids: list[int]
    x: NDArray | None = None
    y: NDArray | None = None
    inputs: NDArray | None = None


def changed(known: Known, calls: Calls, call: Call) -> Changed | None:
    """None where the rows are no simple change of fit's. Raises ReplayError where the trace lacks fit's."""
    rows = call.rows
    if rows is None or known.signature is None or rows.x is None or len(rows.leaves) - (rows.y is not None) != 1:
        return None
    leaves = calls.arrays(rows.leaves)
    if leaves is None:
        return None
    return _inputs(known, call, leaves[0]) or (None if rows.y is None else _labels(known, call, leaves[1]))


_Of = Literal["training", "validation"]


def _inputs(known: Known, call: Call, given: NDArray) -> Changed | None:
    """Rows that are those of fit by their labels in order, or, of inputs alone, by their number."""
    rows = call.rows
    assert rows is not None
    candidates: tuple[tuple[_Of, list[int]], ...] = ("validation", known.validation), ("training", known.order)
    for of, every in candidates:
        ids = every[: rows.count]
        if len(ids) < rows.count or (rows.y is None and rows.count != len(every)):
            continue
        batch = known.batch(ids)
        if not isinstance(batch.x, np.ndarray) or (rows.y is not None and not _labels_are(rows.y, batch.y)):
            continue
        found = between(given, batch.x)
        if found is not None and found.name == "same":
            return Changed(known.found(rows.count, ids, of_inputs=rows.y is None), ids)
        if found is not None:
            shown = (found.name, of, found.scale, found.shift)
            return Changed(
                RowsFound("changed", rows.count, rows.count, len(every), *shown), ids, given, None, found.undone
            )
    return None


def _labels(known: Known, call: Call, given: NDArray) -> Changed | None:
    """Rows that are those of fit by their inputs."""
    rows = call.rows
    assert rows is not None
    if not known.has_inputs(rows):
        return None
    found, exact = known.inputs(rows)
    ids = [row for row in found if row is not None]
    if len(ids) < len(found) or not exact:
        return None
    same = known.found(rows.count, found, of_inputs=True)
    if same.kind not in ("training", "validation"):
        return None
    wanted = known.batch(ids).y
    every = known.validation if same.kind == "validation" else known.order
    file = every if len(every) == len(ids) and every != ids else None
    in_order = None if file is None else known.batch(file).y
    if not isinstance(wanted, np.ndarray):
        return None
    name = labels_between(given, wanted, in_order if isinstance(in_order, np.ndarray) else None)
    if name is None:
        return None
    if name == "same":
        return Changed(same, ids)
    of: Any = same.kind
    shift = float(np.ravel(given)[0]) - float(np.ravel(wanted)[0]) if name == "labels-shifted" else None
    return Changed(RowsFound("changed", rows.count, rows.count, same.known, name, of, None, shift), ids, None, given)


def _labels_are(digests: Sequence[Digest], labels: object) -> bool:
    """Whether these are the labels, which tell rows apart at least a little."""
    leaves = [np.asarray(leaf) for leaf in leaves_of(labels)]
    return len(set(digests)) > 1 and bool(leaves) and tuple(row_digests(pack_rows(leaves))) == tuple(digests)


def given_and_undone(change: Changed, found: Sequence[Batch]) -> tuple[list[Batch], list[Batch]]:
    """The call's batches, and the same with its rows as fit had them; of the recorded rows, in the call's batches."""
    given = list(found) if change.x is None else _with(found, "x", change.x)
    given = given if change.y is None else _with(given, "y", change.y)
    return given, list(found) if change.inputs is None else _with(found, "x", change.inputs)


def with_inputs(found: Sequence[Batch], inputs: NDArray) -> list[Batch]:
    """The same batches, with these inputs in their order."""
    return _with(found, "x", inputs)


def _with(found: Sequence[Batch], part: Literal["x", "y"], values: NDArray) -> list[Batch]:
    made, start = [], 0
    for b in found:
        own = np.ascontiguousarray(values[start : start + b.size])
        made.append(replace(b, x=own) if part == "x" else replace(b, y=own))
        start += b.size
    return made
