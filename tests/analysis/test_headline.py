"""The headline names a cause only where replay proves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.headline import headline
from diagnose.analysis.scored import score
from diagnose.result.calls import Call, CallEntry, CallRows, ComparedWith, LogLoss, OwnLine, Scored
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


def test_a_call_that_drew_random_numbers_is_said_to_have(path: Path) -> None:
    draws = Finding("random-evaluate", "failed", "it draws", {"n": 1}, "", severity="notable")
    call = own_call(0.7, residual=None, reproduced=False)
    assert "replay draws other random numbers than it did" in with_calls(path, call, findings=[draws])


@pytest.mark.parametrize(("effect", "first"), [(0.01, False), (0.9, True)])
def test_a_value_beside_the_main_one_is_the_headline_only_where_it_is_moved_more(
    path: Path, effect: float, first: bool
) -> None:
    """The loss of one of two outputs, moved by a hundredth, beside a loss that evaluate halves."""
    beside = Finding(
        "partial-batch-weight", "failed", "a short batch counts", {}, "", "a_loss", effect, severity="notable"
    )
    entries = (LedgerEntry("dropout", -0.5, -0.5, -0.5),)
    ledger = Ledger(epoch=1, metric="loss", logged=1.0, evaluated=0.5, gap=-0.5, entries=entries, residual=0.0)
    with read_trace(path) as trace:
        two = TwoOutputs(trace, (), None, (ledger,), Measurements(replayed={1: Replayed(2, 2)}))
        assert (headline(two, (beside,)) == "a short batch counts") is first


class TwoOutputs(Facts):
    @property
    def epochs(self) -> tuple[Any, ...]:
        return tuple(replace(e, logs={"loss": 1.0, "a_loss": 1.0}) for e in self.trace.epochs)


class NoLoss(Facts):
    """As steps of the model's own log."""

    @property
    def epochs(self) -> tuple[Any, ...]:
        return tuple(replace(e, logs={"d_loss": 0.5, "g_loss": 2.0}) for e in self.trace.epochs)


def test_of_a_log_without_a_loss_the_first_value_is_told(path: Path) -> None:
    with read_trace(path) as trace:
        assert headline(NoLoss(trace, (), None), ()).startswith("fit logged d_loss 0.5 for epoch 1; ")


@pytest.mark.parametrize(("smoothing", "penalties"), [(0.1, 0.0), (0.0, 0.3), (0.1, 0.3)])
def test_a_log_loss_beside_the_compiled_one_is_told_with_what_it_lacks(
    path: Path, smoothing: float, penalties: float
) -> None:
    lines = (OwnLine(44, "log-loss"),)
    scored = Scored(
        (20, 3), (20, 3), {"accuracy": 0.9}, None, log_loss=LogLoss(0.4, 0.9, smoothing, penalties), lines=lines
    )
    call = own_call(0.9, call="predict", returned={}, replayed={"loss": 0.9}, scored=scored, compared_with=None)
    text = with_calls(path, call)
    assert (
        "train.py:44: a plain log loss of what predict gave is 0.4." in text and "gives 0.9 for the same rows" in text
    )
    assert ("smoothed by 0.1" in text, "0.3 of penalties" in text) == (smoothing > 0, penalties > 0)


def test_a_finding_about_the_call_is_said_once(path: Path) -> None:
    title = Text("test.about", "train.py:40: its inputs were scaled")()
    about = Finding("preprocessing-differs", "failed", title, {"file": "train.py", "line": 40}, "", severity="wrong")
    assert with_calls(path, own_call(0.7, -0.3), findings=[about]) == title


def test_a_slip_in_scoring_is_the_headline_where_a_line_of_the_script_shows_it(path: Path) -> None:
    """Shapes (n, 1) and (n,): what NumPy makes of them is no value of the model. A script that scores row by row, or
    whose lines were not read, gets no word of it."""
    rng = np.random.default_rng(0)
    predictions = rng.random((20, 1))
    labels = (predictions[:, 0] > 0.5).astype("int64")
    found = score(predictions, labels)
    assert found is not None
    pairs, first = float(((predictions > 0.5) == labels).mean()), float((predictions.argmax(1) == labels).mean())

    def text(lines: Any, evaluated: float = 1.001) -> str:
        gap = evaluated - 1.0
        entries = (LedgerEntry("dropout", gap, gap, gap),)
        ledger = Ledger(epoch=1, metric="loss", logged=1.0, evaluated=evaluated, gap=gap, entries=entries, residual=0.0)
        scored = replace(found, lines=lines)
        call = own_call(0.7, call="predict", returned={}, replayed={"loss": 0.7}, scored=scored, compared_with=None)
        with read_trace(path) as trace:
            measured = Measurements(replayed={1: Replayed(2, 2)})
            return headline(Facts(trace, (), None, (ledger,), measured, (call,)), ())

    found = replace(found, in_order=0.125)
    for does, value in (("pairs", pairs), ("first", first), ("in-order", 0.125)):
        said = text((OwnLine(44, does),), 1.3)  # type: ignore[arg-type]
        assert said.startswith("train.py:44: ") and f"{value:.6g}" in said and "accuracy 1." in said
    for lines in (None, (), (OwnLine(44, "every-step"),)):
        assert "dropout" in text(lines) and "train.py" not in text(lines)


def test_predictions_for_a_part_of_the_rows_are_no_number_of_the_script(path: Path) -> None:
    part = own_call(
        0.2, call="predict_on_batch", returned={}, replayed={"loss": 0.2}, rows=CallRows("training", 2, 2, 8)
    )
    assert "predict_on_batch" not in with_calls(path, part)
    assert "train.py:41: evaluate returned loss 0.7" in with_calls(path, part, own_call(0.7, -0.3, line=41))
    whole = replace(part, rows=CallRows("training", 8, 8, 8))
    assert "train.py:40: predict_on_batch made predictions that give loss 0.2" in with_calls(path, whole)


def test_a_loss_that_became_another_function_is_the_cause(path: Path) -> None:
    changed = Finding("loss-changed", "failed", "It changed.", {"n": 1}, "", role="explains-restoration")
    text = with_calls(path, own_call(2.5), findings=[changed])
    assert "the loss itself is another function by then (+1.5)" in text and "nothing that was measured" not in text


def test_weights_that_are_no_numbers_come_first_where_the_log_looks_well(path: Path) -> None:
    """As where a rectifier makes 0 of NaN."""
    lost = Finding("not-finite", "failed", "The weights hold NaN.", {"n": 1}, "", severity="wrong", role="explains-gap")
    assert with_calls(path, findings=[lost]) == "The weights hold NaN."
