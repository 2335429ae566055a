"""The headline names a cause only where replay proves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.headline import headline
from diagnose.result.calls import Call, CallEntry, CallRows, ComparedWith
from diagnose.result.diagnosis import Finding, Ledger, LedgerEntry
from diagnose.result.measurements import Measurements, Replayed
from diagnose.result.texts import Text
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


def own_call(value: float, *amounts: float, line: int = 40, **changes: Any) -> Call:
    """An `evaluate` over fit's eight rows that returned this, where fit logged a loss of 1."""
    entries = [CallEntry(f, a) for f, a in zip(("weights-drift", "dropout"), amounts, strict=False)]
    known: dict[str, Any] = {
        "call": "evaluate", "file": "train.py", "line": line, "epoch": None, "returned": {"loss": value}, "version": 2,
        "ends_epoch": 1, "after_fit": True, "changed": 0, "same_model": True, "same_compile": True,
        "rows": CallRows("training", 8, 8, 8), "batch_size": 32, "compared_with": ComparedWith(1, "loss", 1.0),
        "entries": tuple(entries), "residual": value - 1.0 - sum(amounts), "reproduced": True,
    }  # fmt: skip
    return Call(**{**known, **changes})


def with_calls(path: Path, *calls: Call, findings: Sequence[Finding] = (), reproduced: int = 2) -> str:
    measured = Measurements(replayed={1: Replayed(2, reproduced)})
    with read_trace(path) as trace:
        return headline(Facts(trace, (), None, (), measured, calls), findings)


LEAK = Finding("trained-on-validation", "failed", "rows leaked", {"n": 1}, "", severity="wrong", role="spoils-values")


def test_the_scripts_own_number_comes_first_and_what_is_wrong_after_it(path: Path) -> None:
    text = with_calls(path, own_call(0.7, -0.3), findings=[LEAK])
    assert text.startswith("train.py:40: evaluate returned loss 0.7 where fit logged 1 for epoch 1, mostly because ")
    assert text.endswith(" rows leaked")


@pytest.mark.parametrize("call", [own_call(1.0), own_call(1.005, 0.005), own_call(0.5, compared_with=None)])
def test_a_call_that_agrees_with_the_log_is_no_headline(path: Path, call: Call) -> None:
    assert with_calls(path, call, findings=[LEAK]) == "rows leaked"


def test_of_several_calls_the_largest_difference_counts(path: Path) -> None:
    calls = [own_call(0.9, -0.1, line=1), own_call(0.2, -0.8, line=2), own_call(1.1, 0.1, line=3)]
    assert with_calls(path, *calls).startswith("train.py:2: ")


def test_a_call_at_the_end_of_an_epoch_counts_where_there_is_none_after_the_fit(path: Path) -> None:
    inside, middle = own_call(0.2, -0.8, line=1, epoch=1), own_call(0.1, -0.9, line=2, epoch=1, ends_epoch=None)
    assert with_calls(path, inside, middle).startswith("train.py:1: ")
    assert with_calls(path, inside, own_call(0.9, -0.1, line=3)).startswith("train.py:3: ")


@pytest.mark.parametrize(
    ("call", "reproduced", "why"),
    [
        (own_call(0.7, -0.3), 1, "1 of 2 steps of that epoch came out"),
        (own_call(0.7, -0.1), 2, "replay leaves -0.2"),
        (own_call(0.7, residual=None, reproduced=False), 2, "replay does not give what was returned"),
        (own_call(0.7, residual=None, reproduced=None), 2, "it was not taken apart"),
    ],
    ids=["steps", "residual", "value", "ledger"],
)
def test_no_cause_of_a_call_is_named_that_is_not_proven(path: Path, call: Call, reproduced: int, why: str) -> None:
    text = with_calls(path, call, reproduced=reproduced)
    assert text.startswith("train.py:40: ") and "because" not in text and why in text


def test_a_finding_about_the_call_is_said_once(path: Path) -> None:
    title = Text("test.about", "train.py:40: its inputs were scaled")()
    about = Finding("preprocessing-differs", "failed", title, {"file": "train.py", "line": 40}, "", severity="wrong")
    assert with_calls(path, own_call(0.7, -0.3), findings=[about]) == title
