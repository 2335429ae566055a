"""How labels differ from fit's: told only where it holds for all rows."""

from __future__ import annotations

import numpy as np
import pytest

from diagnose.analysis.label_maps import LabelMap, labels_between

LABELS = np.array([0, 2, 1, 0, 1, 2, 2, 0, 1, 1])
HOT = np.eye(3, dtype="float32")[LABELS]
TURNED = np.array([2, 0, 1])


@pytest.mark.parametrize(
    ("given", "wanted", "name"),
    [
        (LABELS.astype("float32"), LABELS, "same"),
        (LABELS[:, None].astype("int32"), LABELS, "same"),
        (HOT, LABELS, "labels-one-hot"),
        (LABELS, HOT, "labels-sparse"),
        (LABELS + 1, LABELS, "labels-shifted"),
        (TURNED[LABELS], LABELS, "labels-permuted"),
        (HOT[:, TURNED], HOT, "labels-permuted"),
        (1 - LABELS % 2, LABELS % 2, "labels-permuted"),
        (np.where(np.arange(10) == 3, 1, LABELS), LABELS, None),
        (np.zeros(10), LABELS, None),
        (np.arange(10), LABELS, None),
        (np.arange(10) + 1, np.arange(10) * 3, None),
        (LABELS * 1.5 + 0.1, LABELS, None),
        (HOT[:, TURNED], LABELS, None),
    ],
)
def test_a_map_is_named_only_where_it_holds(given: np.ndarray, wanted: np.ndarray, name: LabelMap | None) -> None:
    assert labels_between(given, wanted, None) == name


def test_labels_in_another_order_than_the_rows() -> None:
    rows = np.array([5, 3, 9, 0, 1, 2, 4, 8, 7, 6])
    assert labels_between(LABELS, LABELS[rows], LABELS) == "labels-in-order"
    assert labels_between(LABELS[::-1], LABELS[rows], LABELS) == "labels-moved"
    assert labels_between(LABELS[::-1], LABELS, None) == labels_between(HOT[::-1], HOT, None) == "labels-moved"
    numbers = np.linspace(0.0, 1.0, 10)
    assert labels_between(numbers[rows], numbers, None) == "labels-moved"
    assert labels_between(numbers[rows] + 0.5, numbers, None) is None
