"""What the recorded labels give for predictions that a script made: as scikit-learn or NumPy would score them, and what
the usual slips in doing so would give."""

from __future__ import annotations

import numpy as np

from diagnose.analysis.call_data import Known
from diagnose.analysis.label_maps import class_numbers, whole
from diagnose.record.call_items import Call, Calls
from diagnose.result.calls import Scored
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.rows import build

MOST_PAIRS = 5000
"""Rows of which all pairs are compared."""


def scored(known: Known, calls: Calls, call: Call, ids: list[int | None]) -> Scored | None:
    """None where the labels of a row are not known, or say nothing about such predictions. Raises ReplayError where the
    trace lacks them."""
    kept = None if call.predictions is None or len(call.predictions) != 1 else calls.arrays(call.predictions)
    rows = [row for row in ids if row is not None]
    if kept is None or call.rows is None or len(kept[0]) != call.rows.count or kept[0].ndim > 2:
        return None
    labels, file = None, None
    if rows and len(rows) == len(ids):
        labels, file = (known.batch(each).y for each in (
            rows, known.in_order(rows)))  # fmt: skip
    elif call.rows.y is not None:
        leaves = calls.arrays(call.rows.leaves)
        labels = None if leaves is None else build(call.rows.signature.structure["y"], leaves)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2):
        return None
    return score(kept[0], labels, file if isinstance(file, np.ndarray) and known.in_order(rows) != rows else None)


def score(predictions: NDArray, labels: NDArray, in_order: NDArray | None = None) -> Scored | None:
    """By the shapes, and by what the labels are: class numbers, or one-hot, for several columns; 0 and 1 for one column
    of values in [0, 1]; else numbers."""
    shapes = tuple(predictions.shape), tuple(labels.shape)
    own = class_numbers(labels)
    if predictions.ndim == 2 and predictions.shape[1] > 1 and (own.ndim == 1 or own.shape[1] == 1):
        own = own.reshape(-1)
        if not whole(own) or own.min() < 0 or own.max() >= predictions.shape[1]:
            return None
        picked = predictions.argmax(1)
        other = None if in_order is None else float((picked == class_numbers(in_order).reshape(-1)).mean())
        return Scored(*shapes, {"accuracy": float((picked == own).mean())}, in_order=other)
    if predictions.size != labels.size:
        return None
    given, own = (a.reshape(len(a), -1).astype("float64") for a in (predictions, labels))
    moved = None if in_order is None else in_order.reshape(own.shape).astype("float64")
    column = predictions.ndim == 2 and predictions.shape[1] == 1
    paired = {predictions.ndim, labels.ndim} == {1, 2} and len(given) <= MOST_PAIRS
    zero_one = set(np.unique(own)) == {0.0, 1.0}
    if zero_one and not (given.min() >= 0.0 and given.max() <= 1.0):
        return None  # logits, or none of classes: which is not known
    binary = given.shape[1] == 1 and zero_one
    if binary:
        over = (given > 0.5).astype("float64")
        return Scored(
            *shapes,
            {"accuracy": float((over == own).mean())},
            pairs=float((over == own.T).mean()) if paired else None,
            first=float((own == 0).mean()) if column else None,
            in_order=None if moved is None else float((over == moved).mean()),
        )
    values = {"mse": float(((given - own) ** 2).mean()), "mae": float(np.abs(given - own).mean())}
    return Scored(
        *shapes,
        values,
        pairs=float(((given - own.T) ** 2).mean()) if paired else None,
        in_order=None if moved is None else float(((given - moved) ** 2).mean()),
    )
