from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import split_tail
from tests.rules.advice import blocks

RULE = split_tail.NAME


def fit(y: np.ndarray, split: float = 0.25, outputs: int = 1, loss: str = "mse", **arguments: Any) -> Any:
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(1).normal(size=(len(y), 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(outputs)])
    model.compile(keras.optimizers.SGD(0.001), loss)
    tracer = Tracer()
    model.fit(x, y, epochs=1, batch_size=16, validation_split=split, verbose=0, callbacks=[tracer], **arguments)
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def sorted_classes() -> np.ndarray:
    return np.repeat(np.arange(4), 20)


def by_hand(y: np.ndarray, first: int) -> float:
    """Total variation distance of the labels before and from `first` on."""
    a, b = Counter(y[:first].tolist()), Counter(y[first:].tolist())
    return 0.5 * sum(abs(a[c] / first - b[c] / (len(y) - first)) for c in {*a, *b})


def test_fails_for_sorted_labels_and_names_the_class_training_never_saw() -> None:
    y = sorted_classes()
    finding = fit(y.astype("int64"))
    assert finding.status == "failed" and finding.effect is None
    assert finding.evidence["only_in_validation"] == ["label 3"]
    assert finding.evidence["only_in_training"] == ["label 0", "label 1", "label 2"]
    assert finding.evidence["training_counts"] == [20, 20, 20, 0]
    assert finding.evidence["validation_counts"] == [0, 0, 0, 20]
    assert finding.evidence["total_variation_distance"] == pytest.approx(by_hand(y, 60)) == 1.0


@pytest.mark.recorded
def test_fails_for_one_hot_labels() -> None:
    finding = fit(np.eye(4, dtype="float32")[sorted_classes()], outputs=4)
    assert finding.status == "failed" and finding.evidence["only_in_validation"] == ["label 3"]


@pytest.mark.recorded
def test_fails_where_classes_are_in_both_but_in_other_shares() -> None:
    y = np.array([0] * 40 + [0, 1] * 10 + [1] * 20)
    finding = fit(y.astype("float32"))
    assert finding.status == "failed"
    assert finding.evidence["total_variation_distance"] == pytest.approx(by_hand(y, 60))
    assert "label" in finding.title and "100%" in finding.title


@pytest.mark.recorded
def test_fails_for_sorted_quantities() -> None:
    finding = fit(np.sort(np.random.default_rng(0).normal(size=80)).astype("float32"))
    assert finding.status == "failed"
    assert finding.evidence["total_variation_distance"] > 0.7


@pytest.mark.recorded
@pytest.mark.parametrize("seed", range(5))
def test_passes_for_random_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert fit(rng.permutation(sorted_classes())).status == "passed"


def test_random_splits_of_small_data_do_not_reach_the_bar() -> None:
    """Neither few rows nor many classes nor quantities, over many random splits."""
    fired = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(8, 60))
        y = [rng.integers(0, 10, n).astype(float), rng.normal(size=n), np.arange(n) % 2.0][seed % 3]
        y = rng.permutation(y)
        labels = split_tail._grouped(y[: -max(1, n // 5)], y[-max(1, n // 5) :])
        fired += split_tail._judge(labels, 0.2).status == "failed"
    assert fired == 0


def test_the_random_splits_it_compares_with_have_the_exact_probability() -> None:
    """5 + 5 rows of two classes: of all 252 splits in halves, 2 keep the classes apart."""
    labels = split_tail._grouped(np.array([0.0] * 5), np.array([1.0] * 5))
    assert split_tail._draws_as_far(labels) / split_tail.DRAWS == pytest.approx(2 / 252, abs=0.003)


@pytest.mark.recorded
def test_passes_for_too_few_rows_to_be_sure() -> None:
    assert fit(np.array([0, 0, 0, 0, 0, 0, 1, 1], "float32")).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_without_a_split_or_with_other_validation_data() -> None:
    y = sorted_classes().astype("float32")
    assert fit(y, split=0.0).status == "not-applicable"
    own = (np.zeros((7, 3), "float32"), np.ones(7, "float32"))
    assert fit(y, validation_data=own).status == "not-applicable"


def test_advice_can_be_pasted() -> None:
    assert "permutation" in blocks(split_tail.ADVICE(code=split_tail.CODE))[0]
