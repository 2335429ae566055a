"""In which simple way labels that a call was given differ from those that fit had for the same inputs: written
otherwise, numbered otherwise, or in another order. Each is found from the numbers and holds for all of them."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from diagnose.rules.labels import one_hot
from diagnose.tracefile.model import NDArray

LEAST_ROWS: Final = 4

LabelMap = Literal[
    "same", "labels-one-hot", "labels-sparse", "labels-shifted", "labels-permuted", "labels-in-order", "labels-moved"
]


def labels_between(given: NDArray, wanted: NDArray, in_order: NDArray | None) -> LabelMap | None:
    """What makes `given` of `wanted`, the labels of the same rows as fit had them; None where nothing simple does.

    Args:
        in_order: fit's labels in the order of its arrays, where the rows are all of these in another order.
    """
    if len(given) != len(wanted) or len(given) < LEAST_ROWS or {given.dtype.kind, wanted.dtype.kind} - set("biuf"):
        return None
    given, wanted = _flat(given), _flat(wanted)
    if _equal(given, wanted):
        return "same"
    if in_order is not None and _equal(given, _flat(in_order)):
        return "labels-in-order"
    numbers, own = class_numbers(given), class_numbers(wanted)
    if given.ndim != wanted.ndim:
        return None if not _equal(numbers, own) else "labels-one-hot" if given.ndim > wanted.ndim else "labels-sparse"
    if numbers.ndim != 1 or own.ndim != 1:
        return None
    if (whole(numbers) and whole(own)) and (name := _numbered(numbers, own)) is not None:
        return name
    return "labels-moved" if _equal(np.sort(numbers), np.sort(own)) else None


def _numbered(numbers: NDArray, own: NDArray) -> LabelMap | None:
    """Class numbers that are others for the same classes."""
    pairs = set(zip(own.tolist(), numbers.tolist(), strict=True))
    if not 1 < len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) <= len(own) // 2:
        return None  # not one class for each class, or too few rows of each to tell
    if len({b - a for a, b in pairs}) == 1:
        return "labels-shifted"
    return "labels-permuted"


def _flat(labels: NDArray) -> NDArray:
    """Without a last axis of one, which Keras takes off, too."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _equal(a: NDArray, b: NDArray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def class_numbers(labels: NDArray) -> NDArray:
    """Class numbers of one-hot labels; others as they are."""
    if labels.ndim == 2 and one_hot([labels, labels[::-1]], labels.shape[1]):
        found: NDArray = labels.argmax(1)
        return found
    return labels


def whole(labels: NDArray) -> bool:
    return bool(np.isfinite(labels).all() and (labels == np.trunc(labels)).all())
