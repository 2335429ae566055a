"""Predictions against labels: held against what NumPy gives for the lines that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose.analysis.scored import Evaluated, log_loss, padded, score

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


@pytest.mark.parametrize(
    "labels", [CLASSES.reshape(8, 5), np.eye(3)[CLASSES].reshape(8, 5, 3)], ids=["numbers", "one-hot"]
)
def test_sequences_are_scored_step_by_step(labels: np.ndarray) -> None:
    found = score(MANY.reshape(8, 5, 3), labels)
    assert found is not None and (found.pairs, found.first) == (None, None)
    assert found.values == {"accuracy": pytest.approx((MANY.argmax(1) == CLASSES).mean())}
    assert score(MANY.reshape(8, 5, 3), CLASSES.reshape(5, 8)) is None


@pytest.mark.parametrize("end", [True, False], ids=["at the end", "at the beginning"])
def test_padding_is_zeros_at_one_end_of_rows_of_several_lengths(end: bool) -> None:
    lengths = [5, 3, 4, 1]
    wanted = np.array([[i < n for i in range(5)] for n in lengths])
    x = np.where(wanted, 7, 0)
    x[0, 2] = 0  # a zero between others is a step
    x, wanted = (x, wanted) if end else (x[:, ::-1], wanted[:, ::-1])
    found = padded(x, 5)
    assert found is not None and (found == wanted).all()
    assert (padded(np.repeat(x[..., None], 2, axis=2), 5) == wanted).all()
    assert padded(np.ones((4, 5)), 5) is None and padded(np.where(wanted[:1], 7, 0), 5) is None and padded(x, 4) is None


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "categorical"])
def test_a_log_loss_beside_a_loss_of_smoothed_labels(binary: bool) -> None:
    """The oracle is Keras's own loss, and the plain mean of logarithms."""
    labels = LABELS[:, None].astype("float32") if binary else np.eye(3, dtype="float32")[CLASSES]
    p = ONE if binary else MANY / MANY.sum(1, keepdims=True)
    kind = keras.losses.BinaryCrossentropy if binary else keras.losses.CategoricalCrossentropy
    compiled = float(kind(label_smoothing=0.2)(labels, p))
    of_label = np.where(labels == 1, p, 1 - p) if binary else p[np.arange(N), CLASSES]
    name, settings = ("binary_crossentropy" if binary else "categorical_crossentropy"), {"label_smoothing": 0.2}
    found = log_loss(p, labels, (name, settings), Evaluated({"loss": compiled}))
    assert found is not None and (found.compiled, found.smoothing, found.penalties) == (compiled, 0.2, 0.0)
    assert found.plain == pytest.approx(-np.log(of_label).mean(), rel=1e-5)
    more = Evaluated({"loss": compiled + 0.1})
    assert log_loss(p, labels, (name, settings), more) is None, "a penalty, say: not proven"
    known = Evaluated(more.values, penalties=lambda: 0.1)
    both, alone = log_loss(p, labels, (name, settings), known), float(kind()(labels, p))
    assert both is not None and (both.plain, both.penalties) == (found.plain, 0.1)
    assert log_loss(p, labels, (name, {}), Evaluated({"loss": compiled}, penalties=lambda: 0.1)) is None
    assert log_loss(p, labels, (name, {}), Evaluated({"loss": alone})) is None, "nothing to tell"
    sparse = log_loss(
        p, CLASSES, ("sparse_categorical_crossentropy", {}), Evaluated({"loss": alone + 0.1}, None, lambda: 0.1)
    )
    assert binary or (sparse is not None and (sparse.smoothing, sparse.penalties) == (0.0, 0.1))


@pytest.mark.parametrize("masks", [True, False], ids=["mask", "no mask"])
def test_masked_and_padded_steps_are_told_apart_as_evaluate_counts_them(masks: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    real = np.arange(6) < rng.integers(2, 7, (24, 1))
    x = np.where(real, rng.integers(1, 9, (24, 6)), 0)
    y = np.where(real, x % 2, 1)
    keras.utils.set_random_seed(1)
    layers: list[Any] = [keras.Input((6,), dtype="int32"), keras.layers.Embedding(9, 3, mask_zero=masks)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with diagnose.trace(tmp_path) as session:
        model.fit(x, y, batch_size=8, verbose=0)
        picked = model.predict(x, verbose=0).argmax(-1)
        print((picked == y).mean())
        evaluated = model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
        (found,) = session.diagnose()
    right, scored = np.equal(picked, y), found.calls[0].scored
    assert scored is not None and scored.steps is not None
    assert (scored.steps.count, scored.steps.left_out) == (x.size, int((~real).sum()))
    assert (scored.steps.every, scored.steps.real) == pytest.approx((right.mean(), right[real].mean()))
    assert scored.values["accuracy"] == pytest.approx(evaluated, abs=1e-6), "as evaluate counts"
    assert scored.steps.by == ("mask" if masks else "padding")
    assert scored.steps.counted == (abs(evaluated - right.mean()) < 1e-6)
    assert "every-step" in [line.does for line in scored.lines or ()]
    assert found.headline.startswith("test_scored.py:") == (scored.steps.counted is False)
