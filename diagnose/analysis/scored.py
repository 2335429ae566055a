"""What the recorded labels give for predictions that a script made: as scikit-learn or NumPy would score them, what the
usual slips in doing so would give, and where evaluate computes something else: it leaves out masked steps, or its loss
smooths labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diagnose.analysis.call_data import Known
from diagnose.analysis.label_maps import class_numbers, whole
from diagnose.analysis.own_lines import own_lines
from diagnose.record.call_items import Call, Calls
from diagnose.result.calls import LogLoss, Scored, Steps
from diagnose.rules.logits import crossentropy
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.rows import build

MOST_PAIRS = 5000
"""Rows of which all pairs are compared."""

SAME = 1e-4
"""Share of a value within which NumPy and evaluate agree."""

LEAST_PADDED = 0.02
"""Share of steps that have to be zeros at an end of their row, before that is called padding."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What evaluate makes of the same predictions: its values, the mask it sees (None: there is none), and how much of
    its loss is penalties (None: not known)."""

    values: Mapping[str, float]
    mask: NDArray | None = None
    penalties: Callable[[], float | None] = lambda: None


def scored(known: Known, calls: Calls, call: Call, ids: list[int | None], evaluated: Evaluated) -> Scored | None:
    """None where the labels of a row are not known, or say nothing about such predictions. Raises ReplayError where the
    trace lacks them."""
    kept = None if call.predictions is None or len(call.predictions) != 1 else calls.arrays(call.predictions)
    rows = [row for row in ids if row is not None]
    if kept is None or call.rows is None or len(kept[0]) != call.rows.count or kept[0].ndim > 3:
        return None
    labels, file, x = None, None, None
    if rows and len(rows) == len(ids):
        batch = known.batch(rows)
        labels, x = batch.y, batch.x
        file = known.batch(known.in_order(rows)).y
    elif call.rows.y is not None:
        leaves = calls.arrays(call.rows.leaves)
        structure = call.rows.signature.structure
        labels, x = (None, None) if leaves is None else (build(structure[part], leaves) for part in ("y", "x"))
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "biuf" or not 1 <= labels.ndim <= 3:
        return None
    in_order = file if isinstance(file, np.ndarray) and known.in_order(rows) != rows else None
    found = score(kept[0], labels, in_order)
    if found is None:
        return None
    found = replace(found, lines=own_lines(call.file, call.line, call.kind))
    steps = None if kept[0].ndim < 2 else _steps(kept[0], labels, x, evaluated)
    if steps is not None:
        name = next(iter(found.values))
        found = replace(found, steps=steps, values={**found.values, name: steps.every if steps.counted else steps.real})
    return replace(found, log_loss=log_loss(kept[0], labels, crossentropy(known.trace.header), evaluated))


def score(predictions: NDArray, labels: NDArray, in_order: NDArray | None = None) -> Scored | None:
    """By the shapes, and by what the labels are: class numbers, or one-hot, for several columns; 0 and 1 for one column
    of values in [0, 1]; else numbers. Of sequences, step by step."""
    shapes = tuple(predictions.shape), tuple(labels.shape)
    flat = step_by_step(predictions, labels)
    if flat is not None:
        found = score(*flat, None if in_order is None else in_order.reshape(len(flat[1]), -1))
        return None if found is None else Scored(*shapes, found.values, in_order=found.in_order)
    if predictions.ndim > 2 or labels.ndim > 2:
        return None
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


def step_by_step(predictions: NDArray, labels: NDArray) -> tuple[NDArray, NDArray] | None:
    """Of sequences (rows, steps, units) and their labels, each step as a row; None for others."""
    if predictions.ndim != 3 or labels.shape[:2] != predictions.shape[:2] or labels.ndim not in (2, 3):
        return None
    count = predictions.shape[0] * predictions.shape[1]
    return predictions.reshape(count, -1), labels.reshape(count, -1)


def _steps(predictions: NDArray, labels: NDArray, x: Any, evaluated: Evaluated) -> Steps | None:
    """None where all steps are real, or which are not is not known."""
    flat, mask = step_by_step(predictions, labels), evaluated.mask
    if flat is None:
        return None
    real = mask if mask is not None and mask.shape == predictions.shape[:2] else padded(x, predictions.shape[1])
    if real is None or real.all() or not real.any():
        return None
    picked = real.reshape(-1)
    scores = score(*flat), score(flat[0][picked], flat[1][picked])
    if scores[0] is None or scores[1] is None or list(scores[0].values) != list(scores[1].values):
        return None
    name, every = next(iter(scores[0].values.items()))
    without = scores[1].values[name]
    # Of a metric that is the same function, evaluate's own value tells which it counts.
    near = [
        (_near(v, every), _near(v, without))
        for n, v in evaluated.values.items()
        if ("acc" in n) == (name == "accuracy")
    ]
    counted = next((all_ for all_, some in near if all_ != some), None)
    by: Any = "padding" if real is not mask else "mask"
    return Steps(picked.size, int((~picked).sum()), by, every, without, counted)


def padded(x: Any, steps: int) -> NDArray | None:
    """Which steps are not zeros at one end of their row; None where the inputs are no sequences of so many steps, or
    are not padded: rows of several lengths, the rest of which is zeros."""
    if not isinstance(x, np.ndarray) or x.ndim not in (2, 3) or x.shape[1] != steps or x.dtype.kind not in "biuf":
        return None
    some = (x != 0) if x.ndim == 2 else (x != 0).any(axis=2)
    begin = np.logical_or.accumulate(some, axis=1)
    end = np.logical_or.accumulate(some[:, ::-1], axis=1)[:, ::-1]
    for real in (end, begin):
        if 1.0 - real.mean() >= LEAST_PADDED and len(set(real.sum(axis=1).tolist())) > 1:
            found: NDArray = real
            return found
    return None


def log_loss(
    predictions: NDArray, labels: NDArray, loss: tuple[str, Mapping[str, Any]] | None, evaluated: Evaluated
) -> LogLoss | None:
    """Where the compiled loss is a crossentropy of smoothed labels, or with penalties, or both, and NumPy gives what
    evaluate does for it."""
    name, settings = loss or ("", {})
    smoothing = settings.get("label_smoothing") or 0.0
    compiled = evaluated.values.get("loss")
    if not name or not isinstance(smoothing, (int, float)) or compiled is None or settings.get("from_logits"):
        return None
    if predictions.ndim > 2:
        return None
    given, own = (a.reshape(len(a), -1).astype("float64") for a in (predictions, labels))
    if name.startswith("sparse") and own.shape[1] == 1 and whole(own) and 0 <= own.min() <= own.max() < given.shape[1]:
        own = np.eye(given.shape[1])[own[:, 0].astype(int)]
    if given.shape != own.shape or given.min() < 0.0 or given.max() > 1.0:
        return None
    binary = name.startswith("binary")
    if not binary:
        given = given / given.sum(axis=1, keepdims=True)
    smooth = own * (1.0 - smoothing) + smoothing / (2 if binary else own.shape[1])

    def of(wanted: NDArray, floor: float) -> float:
        p = np.clip(given, floor, 1.0 - floor)
        each = wanted * np.log(p) + ((1.0 - wanted) * np.log(1.0 - p) if binary else 0.0)
        return float(-(each.mean() if binary else each.sum(axis=1).mean()))

    plain = of(own, float(np.finfo(predictions.dtype if predictions.dtype.kind == "f" else np.float64).eps))
    by_labels, penalties = of(smooth, 1e-7), 0.0
    if not _near(by_labels, compiled):
        penalties = evaluated.penalties() or 0.0
        if not _near(by_labels + penalties, compiled):
            return None
    return LogLoss(plain, compiled, float(smoothing), penalties) if smoothing or penalties else None


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME, abs_tol=SAME / 10)
