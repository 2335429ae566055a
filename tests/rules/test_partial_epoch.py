from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import partial_epoch
from diagnose.rules.passes import in_rounds, not_variants
from tests.rules.advice import blocks

RULE = partial_epoch.NAME


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches by row numbers, other ones each epoch; `change` may alter the rows (augmentation)."""

    def __init__(self, x: np.ndarray, y: np.ndarray, epochs: list[list[np.ndarray]], change: Any = None) -> None:
        super().__init__()
        self.x, self.y, self.epochs, self.change, self.epoch = x, y, epochs, change, 0

    def __len__(self) -> int:
        return len(self.epochs[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.epochs[self.epoch][index]
        x = self.x[rows]
        return (x if self.change is None else self.change(x)), self.y[rows]

    def begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch


def data(rows: int = 128) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 3)).astype("float32")
    y = x[:, 0] + np.repeat([0.1, 3.0], rows // 2) * rng.normal(size=rows)
    return x, y.astype("float32")[:, None]


def fit(x: Any, y: Any = None, **arguments: Any) -> tuple[Any, Any, Any]:
    """Finding, history and model of a fit with validation data (so that nothing else is wrong)."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    tracer = Tracer()
    arguments.setdefault("validation_data", data(32))
    callbacks = [tracer]
    if isinstance(x, Batches):
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_begin=x.begin))
    history = model.fit(x, y, verbose=0, callbacks=callbacks, **arguments).history
    return next(f for f in tracer.diagnose().findings if f.rule == RULE), history, model


def test_fails_with_the_size_of_what_the_other_rows_make() -> None:
    x, y = data()
    finding, history, model = fit(x, y, batch_size=16, steps_per_epoch=4, epochs=6, shuffle=False)
    assert finding.status == "failed" and finding.metric == "loss"
    assert (finding.evidence["rows_of_an_epoch"], finding.evidence["rows_of_all_epochs"]) == (64, 128)
    assert finding.evidence["batches"] == 8
    epoch = finding.evidence["epoch"]
    assert finding.evidence["logged"] == history["loss"][epoch - 1]
    # Epochs 2, 4, 6 see the noisy half. Learning is slow: the other half makes nearly the whole gap.
    half = slice(64, None) if epoch % 2 == 0 else slice(0, 64)
    predicted = np.asarray(model.predict(x, verbose=0), np.float64)
    errors = np.square(predicted - y)
    assert finding.evidence["data_coverage"] == pytest.approx(errors.mean() - errors[half].mean(), rel=0.1)
    assert finding.effect == abs(finding.evidence["data_coverage"])


def test_says_which_batches_were_never_used() -> None:
    x, y = data()
    finding, _, _ = fit(x, y, batch_size=16, steps_per_epoch=2, epochs=1)
    assert finding.status == "failed"
    assert finding.evidence["batches_never_used"] == 6 and "6 of the 8 batches" in finding.title


def test_says_that_validation_steps_leave_rows_out() -> None:
    x, y = data()
    finding, _, _ = fit(x, y, batch_size=16, epochs=2, validation_steps=1, validation_batch_size=8)
    assert finding.status == "failed"
    assert (finding.evidence["validation_rows_of_a_pass"], finding.evidence["validation_rows"]) == (8, 32)


@pytest.mark.parametrize("arguments", [{}, {"steps_per_epoch": 8}, {"validation_steps": 2}])
def test_passes_for_whole_epochs_in_any_order(arguments: dict[str, int]) -> None:
    x, y = data()
    finding, _, _ = fit(x, y, batch_size=16, epochs=3, validation_batch_size=16, **arguments)
    assert finding.status == "passed" and finding.evidence["rows"] == 128


def test_passes_where_the_rows_are_alike() -> None:
    x = np.tile(data(16)[0], (8, 1))
    finding, _, _ = fit(x, x[:, :1] * 2, batch_size=16, steps_per_epoch=4, epochs=6, shuffle=False)
    assert finding.status == "passed"


def test_other_rows_each_epoch_without_steps_are_proven_by_rows_that_come_back() -> None:
    x, y = data(64)
    rng = np.random.default_rng(0)
    # What an epoch leaves out is of one half, so that it moves the value whatever the weights are.
    left = [rng.choice(32, 16, replace=False) + 32 * (e % 2) for e in range(6)]
    epochs = [np.split(rng.permutation(np.setdiff1d(np.arange(64), out)), 4) for out in left]
    finding, _, _ = fit(Batches(x, y, epochs), epochs=6, shuffle=False)
    assert finding.status == "failed"
    assert (finding.evidence["rows_of_an_epoch"], finding.evidence["rows_of_all_epochs"]) == (48, 64)


@pytest.mark.parametrize("kind", ["noise", "flip"])
def test_does_not_take_augmentation_for_other_rows(kind: str) -> None:
    x, y = data(64)
    rng = np.random.default_rng(1)

    def noise(rows: np.ndarray) -> np.ndarray:
        return (rows + rng.normal(scale=0.5, size=rows.shape)).astype("float32")

    def flip(rows: np.ndarray) -> np.ndarray:
        return np.where(rng.random((len(rows), 1)) < 0.5, rows, rows[:, ::-1]).astype("float32")

    epochs = [np.split(rng.permutation(64), 4) for _ in range(8)]
    change = {"noise": noise, "flip": flip}[kind]
    finding, _, _ = fit(Batches(x, y, epochs, change), epochs=8, shuffle=False)
    assert finding.status == "not-applicable" and "augmented" in finding.title


def test_variants_are_never_refuted_where_they_are_the_truth() -> None:
    rng = np.random.default_rng(3)
    for variants in (2, 3, 5):
        for epochs in (2, 3, 6, 12):
            passes = [rng.permutation(np.arange(50) + 50 * rng.integers(0, variants, 50)) for _ in range(epochs)]
            assert not not_variants(passes)
            assert not in_rounds(passes)


def test_samples_of_one_pool_are_refuted_as_variants() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        passes = [rng.permutation(100)[:80] for _ in range(5)]
        assert not_variants(passes)


def test_rounds_are_seen_across_passes() -> None:
    rng = np.random.default_rng(6)
    stream = np.concatenate([rng.permutation(90) for _ in range(4)])
    assert in_rounds(np.split(stream, 9))
    assert not in_rounds(np.split(rng.integers(0, 90, 360), 9))


def test_advice_can_be_pasted() -> None:
    assert "model.fit(" in blocks(partial_epoch.ADVICE(code=partial_epoch.CODE))[0]
