"""What holds for the ledger of any fit, over fits drawn at random: two models, any rows, batches, rates and weights."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from diagnose import Tracer
from diagnose.result.diagnosis import Ledger

MODES = {"dropout", "batch-norm", "augmentation", "other-training-mode"}
FEW = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
"""Each example is a fit; to shrink one would take minutes."""

ROWS = st.integers(2, 9)
BATCH = st.integers(1, 10)
SEEDS = st.integers(0, 10**6)
RATES = st.sampled_from([0.0, 0.03, 0.3])


@functools.cache
def model(busy: bool) -> Any:
    """Compiled once: the train function is what takes time. `busy`: with layers that know training."""
    middle = [keras.layers.GaussianNoise(0.2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.4)]
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), *(middle if busy else [])])
    made.add(keras.layers.Dense(1, activation="sigmoid"))
    made.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    return made


class Run:
    """One fit of a fresh start, its ledgers, and what Keras evaluates after it."""

    def __init__(
        self,
        *,
        busy: bool,
        seed: int,
        rows: int,
        batch: int,
        rate: float,
        epochs: int = 2,
        weights: Mapping[int, float] | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(rows, 3)).astype("float32")
        self.y = (rng.random(size=(rows, 1)) > 0.5).astype("float32")
        fitted = model(busy)
        for variable in fitted.weights:
            drawn = rng.normal(size=variable.shape)
            variable.assign(np.abs(drawn) + 0.5 if "moving_variance" in variable.path else drawn)
        fitted.optimizer.learning_rate = rate
        self.before = fitted.evaluate(self.x, self.y, batch_size=batch, verbose=0, return_dict=True)
        with tempfile.TemporaryDirectory() as folder:
            tracer = Tracer(Path(folder) / "fit.diag")
            self.history = fitted.fit(
                self.x, self.y, batch_size=batch, epochs=epochs, verbose=0, class_weight=weights, callbacks=[tracer]
            ).history
            diagnosis = tracer.diagnose()
        self.after = fitted.evaluate(self.x, self.y, batch_size=batch, verbose=0, return_dict=True)
        self.ledgers: dict[str, Ledger] = {x.metric: x for x in diagnosis.ledgers if x.epoch == epochs}
        assert set(self.ledgers) == set(self.history)


def amounts(ledger: Ledger) -> dict[str, float]:
    return {e.factor: e.amount for e in ledger.entries}


@FEW
@given(st.booleans(), SEEDS, ROWS, BATCH, RATES, st.sampled_from([None, {0: 1.0, 1: 3.0}]))
@example(True, 1, 7, 3, 0.3, {0: 1.0, 1: 3.0})
def test_amounts_and_residual_are_the_gap_between_history_and_evaluate(
    busy: bool, seed: int, rows: int, batch: int, rate: float, weights: dict[int, float] | None
) -> None:
    run = Run(busy=busy, seed=seed, rows=rows, batch=batch, rate=rate, weights=weights)
    for metric, ledger in run.ledgers.items():
        assert ledger.logged == run.history[metric][-1]
        assert ledger.evaluated == pytest.approx(run.after[metric], rel=1e-6, abs=1e-7)
        assert ledger.gap == ledger.evaluated - ledger.logged
        whole = math.fsum([*(e.amount for e in ledger.entries), ledger.residual])
        assert whole == pytest.approx(ledger.gap, rel=0, abs=1e-15 * max(1.0, abs(ledger.logged)))
        assert abs(ledger.residual) <= (1e-15 if metric == "accuracy" else 1e-5 * max(1.0, abs(ledger.logged)))
        assert all(e.low - 1e-12 <= e.amount <= e.high + 1e-12 for e in ledger.entries)
        # A factor that cannot differ in this run has no line.
        absent = {"restored-weights", "data-coverage", "augmentation", "other-training-mode"}
        absent |= set() if busy else MODES
        absent |= set() if weights and metric == "loss" else {"class-weights"}
        assert not set(amounts(ledger)) & absent


@FEW
@given(SEEDS, ROWS, BATCH)
def test_at_a_rate_of_zero_there_is_no_lag_and_no_drift(seed: int, rows: int, batch: int) -> None:
    run = Run(busy=False, seed=seed, rows=rows, batch=batch, rate=0.0)
    for ledger in run.ledgers.values():
        assert not {factor for factor, amount in amounts(ledger).items() if amount} & {"weights-lag", "weights-drift"}
        assert ledger.gap == pytest.approx(0.0, abs=1e-6)


@FEW
@given(SEEDS, ROWS, st.sampled_from([0.03, 0.3]))
def test_in_one_full_batch_without_layers_that_know_training_the_lag_is_the_whole_gap(
    seed: int, rows: int, rate: float
) -> None:
    run = Run(busy=False, seed=seed, rows=rows, batch=rows, rate=rate, epochs=1)
    for metric, ledger in run.ledgers.items():
        assert set(amounts(ledger)) == {"weights-lag"}
        expected = run.after[metric] - run.before[metric]
        assert amounts(ledger)["weights-lag"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert ledger.gap == pytest.approx(expected, rel=1e-4, abs=1e-6)
