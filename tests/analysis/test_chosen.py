"""Which epochs are explained, and that a long fit is not replayed whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

import diagnose.analysis.chosen as chosen
from diagnose import DiagnoseError, Tracer
from tests.cli.warm import diagnose

EPOCHS = 12


@pytest.fixture(scope="module")
def traced() -> tuple[Tracer, Any, dict[str, list[float]]]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    y = (x @ [1.0, -2.0, 0.5, 0.1] + rng.normal(size=64)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.3, momentum=0.95), "mse")
    tracer = Tracer()
    stopping = keras.callbacks.EarlyStopping("loss", patience=EPOCHS, restore_best_weights=True)
    history = model.fit(x, y, batch_size=16, epochs=EPOCHS, verbose=0, callbacks=[stopping, tracer]).history
    return tracer, model, history


def explained(diagnosis: Any) -> list[int]:
    return sorted({ledger.epoch for ledger in diagnosis.ledgers})


def test_by_default_the_last_the_best_and_the_one_after_it(traced: Any) -> None:
    tracer, _, history = traced
    best = int(np.argmin(history["loss"])) + 1
    assert 1 < best < EPOCHS - 1, "the fit must have its best epoch in between"
    diagnosis = tracer.diagnose()
    assert explained(diagnosis) == [best, best + 1, EPOCHS]
    assert all(row.reevaluated for row in diagnosis.epoch_rows), "a short fit is evaluated again whole"


def test_those_asked_for(traced: Any) -> None:
    assert explained(traced[0].diagnose(epochs=[2, 5])) == [2, 5]
    assert explained(traced[0].diagnose(epochs="all")) == list(range(1, EPOCHS + 1))


def test_an_epoch_that_is_not_there(traced: Any) -> None:
    with pytest.raises(DiagnoseError, match=rf"no epoch 0, 99: its epochs are 1 to {EPOCHS}"):
        traced[0].diagnose(epochs=[99, 0, 3])


def test_a_long_fit_is_replayed_and_evaluated_in_part(traced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer, _, history = traced
    whole = tracer.diagnose()
    monkeypatch.setattr(chosen, "SHORT_STEPS", 0)
    monkeypatch.setattr(chosen, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(chosen, "CANDIDATES", 1)
    diagnosis = tracer.diagnose(epochs=None)
    best = int(np.argmin(history["loss"])) + 1
    assert diagnosis.replay.epochs == (best, best + 1, EPOCHS)
    assert diagnosis.replay.steps == diagnosis.replay.reproduced == 12
    again = {row.epoch: row.reevaluated for row in diagnosis.epoch_rows if row.reevaluated}
    assert set(again) >= {best - 1, best, best + 1, EPOCHS}
    for row in whole.epoch_rows:
        if row.epoch in again:  # in larger batches: other sums of float32
            assert again[row.epoch]["loss"] == pytest.approx(row.reevaluated["loss"], rel=1e-5)
    assert [(x.epoch, x.entries) for x in diagnosis.ledgers] == [(x.epoch, x.entries) for x in whole.ledgers]


@dataclass(frozen=True)
class Fit:
    """As much of a trace as its length is told by."""

    steps: list[Any]
    epochs: int
    backend: str = "tensorflow"
    unrecorded: frozenset[int] = frozenset()

    @property
    def short(self) -> bool:
        header = SimpleNamespace(backend=self.backend)
        return chosen.is_short(
            SimpleNamespace(
                steps=self.steps,
                epochs=[None] * self.epochs,
                updates=len(self.steps),
                unrecorded=self.unrecorded,
                header=header,
            )
        )


def steps(count: int, seconds: float) -> list[Any]:
    """Of which the first, and a tenth of the others, took a second."""
    return [SimpleNamespace(seconds=1.0 if i % 10 == 0 else seconds) for i in range(count)]


@pytest.mark.parametrize(
    ("fit", "short"),
    [
        (Fit(steps(200, 0.04), 10), True),
        (Fit(steps(200, 0.2), 10), False),  # 40 s of training: to run its steps again takes too long
        (Fit(steps(1500, 0.0005), 10), True),
        (Fit(steps(1500, 0.0005), 10, backend="torch"), False),
        (Fit(steps(1500, 0.0005), 100), False),  # whose epochs cost the more
        (Fit(steps(1000, 0.005), 100), False),
        (Fit(steps(300, 0.001), 10, unrecorded=frozenset({3})), False),
        (Fit([], 0), True),
    ],
)
def test_which_fits_are_short(fit: Fit, short: bool) -> None:
    assert fit.short is short


@pytest.mark.parametrize("text", ["0", "none", "1,,2", "3-5", "-1"])
def test_usage(text: str, tmp_path: Any) -> None:
    done = diagnose("run", "single_batch", f"--epochs={text}", cwd=tmp_path)
    assert done.code == 2 and "neither 'all' nor numbers of epochs" in done.stderr


def test_from_the_command_line(tmp_path: Any) -> None:
    done = diagnose("run", "single_batch", "--epochs", "2,4", "--json", "--out", "out", cwd=tmp_path)
    (fit,) = json.loads(done.stdout)["fits"]
    assert {ledger["epoch"] for ledger in fit["ledgers"]} == {2, 4}


@pytest.mark.parametrize(("on_training", "epochs"), [(True, [3, 4, 9]), (False, [3, 9])])
def test_the_one_after_the_best_is_explained_where_a_training_value_decides(
    on_training: bool, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "ranked", lambda trace, decision: [3, 4])
    fit: Any = SimpleNamespace(epochs=[SimpleNamespace(epoch=e) for e in range(1, 10)])
    decision: Any = SimpleNamespace(on_training_value=on_training)
    assert chosen.analysed(fit, None, [decision], 3) == epochs
