"""The headline names a cause only where replay proves it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.headline import headline
from diagnose.result.diagnosis import Ledger, LedgerEntry
from diagnose.result.measurements import Measurements, Replayed
from diagnose.rules.facts import Facts


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    path = tmp_path_factory.mktemp("trace") / "fit.diag"
    model.fit(x, x.sum(1), batch_size=4, epochs=1, verbose=0, callbacks=[Tracer(path)])
    return path


def said(path: Path, *amounts: float, residual: float, reproduced: int = 2) -> str:
    """The headline of a fit with two steps and a ledger of loss with these amounts."""
    entries = [LedgerEntry(f, a, a, a) for f, a in zip(("weights-drift", "dropout"), amounts, strict=False)]
    gap = sum(amounts) + residual
    ledger = Ledger(
        epoch=1, metric="loss", logged=1.0, evaluated=1.0 + gap, gap=gap, entries=tuple(entries), residual=residual
    )
    with read_trace(path) as trace:
        return headline(Facts(trace, (), None, (ledger,), Measurements(replayed={1: Replayed(2, reproduced)})), ())


def test_causes_larger_than_the_residual_are_named(path: Path) -> None:
    text = said(path, -0.3, -0.1, residual=0.0)
    assert "the weights moved on" in text and "dropout" in text


def test_what_moves_the_value_the_other_way_is_no_cause_of_the_gap(path: Path) -> None:
    text = said(path, -0.3, 0.1, residual=0.0)
    assert text.endswith("mostly because the weights moved on within the epoch (-0.3).")


def test_a_cause_smaller_than_the_residual_is_not(path: Path) -> None:
    text = said(path, -0.3, -0.1, residual=-0.2)
    assert "the weights moved on" in text and "dropout" not in text


def test_none_is_named_where_the_residual_is_larger_than_all(path: Path) -> None:
    text = said(path, -0.16, residual=0.94)
    assert "mostly because" not in text and "+0.94" in text and "not explained" in text


def test_none_is_named_where_steps_do_not_reproduce(path: Path) -> None:
    text = said(path, -0.3, residual=0.0, reproduced=1)
    assert "mostly because" not in text and "1 of 2 steps" in text


def test_a_cause_is_named_however_small_the_gap(path: Path) -> None:
    text = said(path, 0.0, 0.0004, residual=0.0)
    assert "dropout or noise is active in fit only (+0.0004)" in text
