from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import reshuffled_split
from tests.rules.advice import blocks

RULE = reshuffled_split.NAME


class Passes(keras.utils.PyDataset):  # type: ignore[misc]
    """One batch a pass, other rows each epoch: what a reshuffled dataset gives, on every backend."""

    def __init__(self, passes: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
        super().__init__()
        self.passes, self.x, self.y, self.epoch = passes, x, y, 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[self.passes[self.epoch]], self.y[self.passes[self.epoch]]


def rows(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    return rng.normal(size=(count, 3)).astype("float32"), rng.normal(size=(count, 1)).astype("float32")


def fit(training: Any, validation: Any, epochs: int = 8, **arguments: Any) -> Any:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    tracer = Tracer()

    def begin(epoch: int, logs: Any = None) -> None:
        for data in (training, validation):
            if isinstance(data, Passes):
                data.epoch = epoch

    callbacks = [tracer, keras.callbacks.LambdaCallback(on_epoch_begin=begin)]
    settings = {"epochs": epochs, "shuffle": False, "verbose": 0, "callbacks": callbacks, **arguments}
    model.fit(training, validation_data=validation, **settings)
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


def drawn(epochs: int, size: int, held: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What skip(held) and take(held) give after a shuffle that reshuffles: each read has an order of its own."""
    rng = np.random.default_rng(seed)
    training = [rng.permutation(size)[held:] for _ in range(epochs)]
    return training, [rng.permutation(size)[:held] for _ in range(epochs)]


@pytest.mark.parametrize("held", [15, 30])
def test_fails_where_both_sides_are_drawn_anew(held: int) -> None:
    x, y = rows()
    epochs = 30 if held == 30 else 8
    training, validation = drawn(epochs, 60, held)
    finding = fit(Passes(training, x, y), Passes(validation, x, y), epochs)
    assert finding.status == "failed" and finding.effect is None
    seen = set(np.concatenate(training).tolist())
    assert finding.evidence["validation_rows"] == held
    assert finding.evidence["validation_rows_trained_on_before"] == len(seen & set(validation[-1].tolist()))
    both = seen & set(np.concatenate(validation).tolist())
    assert finding.evidence["rows_on_both_sides"] == len(both)


@pytest.mark.recorded
def test_passes_for_a_fixed_split() -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    training = [rng.permutation(45) for _ in range(8)]
    held = [45 + rng.permutation(15) for _ in range(8)]
    assert fit(Passes(training, x, y), Passes(held, x, y)).status == "passed"


@pytest.mark.recorded
def test_passes_for_changing_validation_rows_that_are_never_trained_on() -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    held = [45 + rng.permutation(15)[:10] for _ in range(8)]
    assert fit(Passes([np.arange(45)] * 8, x, y), Passes(held, x, y)).status == "passed"


@pytest.mark.recorded
def test_passes_where_the_training_data_is_the_validation_data() -> None:
    x, y = rows()
    rng = np.random.default_rng(1)
    whole = [rng.permutation(60) for _ in range(16)]
    assert fit(Passes(whole, x, y), (x, y)).status == "passed"


@pytest.mark.recorded
def test_passes_where_equal_rows_are_on_both_sides() -> None:
    x, y = rows()
    x[45:50], y[45:50] = x[:5], y[:5]
    rng = np.random.default_rng(1)
    training = [rng.permutation(45) for _ in range(8)]
    assert fit(Passes(training, x, y), (x[45:], y[45:])).status == "passed"


@pytest.mark.recorded
def test_does_not_apply_to_samples_of_the_training_data() -> None:
    """Training goes over all rows; validation is a changing sample of them, as `.take(n)` of it gives."""
    x, y = rows()
    rng = np.random.default_rng(1)
    held = [rng.permutation(60)[:10] for _ in range(8)]
    assert fit(Passes([np.arange(60)] * 8, x, y), Passes(held, x, y)).status == "not-applicable"


@pytest.mark.recorded
def test_does_not_apply_to_one_augmented_dataset_given_twice() -> None:
    """Each read has every row, in one of two variants drawn at random."""
    x, y = rows()
    rng = np.random.default_rng(1)
    reads = [np.arange(30) + 30 * rng.integers(0, 2, 30) for _ in range(16)]
    finding = fit(Passes(reads[::2], x, y), Passes(reads[1::2], x, y))
    assert finding.status == "not-applicable" and "augmented" in finding.title


@pytest.mark.recorded
def test_does_not_apply_to_one_epoch_or_no_validation() -> None:
    x, y = rows()
    training, validation = drawn(1, 60, 15)
    assert fit(Passes(training, x, y), Passes(validation, x, y), 1).status == "not-applicable"
    assert fit(Passes(training * 2, x, y), None, 2).status == "not-applicable"


@pytest.mark.recorded
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
@pytest.mark.parametrize("reshuffle", [True, False])
def test_take_and_skip_of_tf_data(reshuffle: bool) -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(rows()).shuffle(60, seed=1, reshuffle_each_iteration=reshuffle)
    finding = fit(dataset.skip(15).batch(15), dataset.take(15).batch(15))
    assert finding.status == ("failed" if reshuffle else "passed")


def test_advice_can_be_pasted() -> None:
    assert "reshuffle_each_iteration=False" in blocks(reshuffled_split.ADVICE(code=reshuffled_split.CODE))[0]
