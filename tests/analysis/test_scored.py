"""Predictions against labels: held against what NumPy gives for the lines that people write."""

from __future__ import annotations

import numpy as np
import pytest

from diagnose.analysis.scored import score

RNG = np.random.default_rng(0)
N = 40
LABELS = RNG.integers(0, 2, N)
ONE = RNG.uniform(size=(N, 1)).astype("float32")
MANY = RNG.uniform(size=(N, 3)).astype("float32")
CLASSES = RNG.integers(0, 3, N)
NUMBERS = RNG.normal(size=N).astype("float32")
OTHER = RNG.permutation(N)


def test_one_column_of_chances() -> None:
    found = score(ONE, LABELS, LABELS[OTHER])
    assert found is not None and (found.predictions, found.labels) == ((N, 1), (N,))
    assert found.values == {"accuracy": pytest.approx(((ONE[:, 0] > 0.5) == LABELS).mean())}
    assert found.pairs == pytest.approx(((ONE > 0.5) == LABELS).mean())
    assert found.first == pytest.approx((ONE.argmax(1) == LABELS).mean())
    assert found.in_order == pytest.approx(((ONE[:, 0] > 0.5) == LABELS[OTHER]).mean())


def test_columns_on_both_sides_do_not_meet_in_pairs() -> None:
    found = score(ONE, LABELS[:, None])
    assert found is not None and found.pairs is None and found.in_order is None
    flat = score(ONE[:, 0], LABELS)
    assert flat is not None and flat.pairs is None and flat.first is None


def test_numbers_are_scored_as_a_regression() -> None:
    found = score(ONE, NUMBERS, NUMBERS[OTHER])
    assert found is not None and found.first is None
    assert found.values["mse"] == pytest.approx(((ONE[:, 0] - NUMBERS) ** 2).mean(), rel=1e-5)
    assert found.values["mae"] == pytest.approx(np.abs(ONE[:, 0] - NUMBERS).mean(), rel=1e-5)
    assert found.pairs == pytest.approx(((ONE - NUMBERS) ** 2).mean(), rel=1e-5)
    assert found.in_order == pytest.approx(((ONE[:, 0] - NUMBERS[OTHER]) ** 2).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "labels", [CLASSES, CLASSES[:, None], np.eye(3)[CLASSES]], ids=["numbers", "column", "one-hot"]
)
def test_classes(labels: np.ndarray) -> None:
    found = score(MANY, labels, labels[OTHER])
    assert found is not None and found.values == {"accuracy": pytest.approx((MANY.argmax(1) == CLASSES).mean())}
    assert found.in_order == pytest.approx((MANY.argmax(1) == CLASSES[OTHER]).mean())
    assert found.pairs is None and found.first is None


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [(4 * ONE - 2, LABELS), (MANY, NUMBERS), (MANY, CLASSES + 1), (MANY, CLASSES[:, None] + np.zeros((1, 2)))],
    ids=["logits", "several numbers, one label", "classes beyond", "other shapes"],
)
def test_what_is_not_known_is_not_scored(predictions: np.ndarray, labels: np.ndarray) -> None:
    assert score(predictions, labels) is None
