"""The terminal summary: at most 15 lines of 100 columns, and a few for the script's own calls, whatever there is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from diagnose.report.terminal import CALLS, COLUMNS, LINES, summary
from diagnose.result.calls import Call, CallRows
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import width
from tests.report import examples
from tests.report.test_json import diagnoses


def check(text: str) -> None:
    lines = text.split("\n")
    assert len(lines) <= LINES + 4 * CALLS + 1
    assert all(width(line) <= COLUMNS for line in lines)
    assert all(character == "\n" or character.isprintable() for character in text)


@pytest.mark.parametrize("name", list(examples.ALL))
def test_it_fits(name: str) -> None:
    text = str(examples.ALL[name]())
    check(text)
    assert len(text.split("\n")) <= LINES, "these have no calls"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(diagnoses)
def test_any_diagnosis_fits(diagnosis: Diagnosis) -> None:
    check(summary(diagnosis))


def test_the_fullest_case_keeps_the_headline_the_verdict_and_the_failures() -> None:
    base = examples.hostile()
    failed = tuple(
        replace(f, rule=f"rule-{i}", status="failed", severity="wrong") for i, f in enumerate(base.findings * 5)
    )
    text = str(replace(base, findings=(*failed, *base.findings)))
    check(text)
    assert "shifted: " in text and "[wrong] " in text and "see the report" in text and "replay: " in text


def test_what_it_says() -> None:
    text = str(examples.single_batch())
    lines = text.split("\n")
    assert lines[0] == "single_batch | fit 1 | 8 epochs | 8 updates | Keras 3.15.1 on tensorflow | model sequential"
    assert lines[1].startswith("EarlyStopping restored version 6, whose loss is 38.882, not the 33.216 logged")
    assert "  best logged            33.216  epoch 6, computed at version 5" in lines
    assert "  restored               38.882  epoch 6, version 6" in lines
    assert any(line.startswith("[wrong] one-step-epoch: ") for line in lines)
    assert "[not applicable] moving-average-of-weights, threshold-on-training-metric" in lines
    assert any(line.startswith("ledger loss, epoch 6: 33.216 logged, 38.882 evaluated") for line in lines)
    assert text.isascii()


def test_an_interrupted_recording_says_so_before_the_verdict() -> None:
    lines = str(examples.interrupted()).split("\n")
    assert lines[1].startswith("! The recording was interrupted")


def test_calls_that_a_line_of_a_callback_makes_in_every_epoch_are_folded() -> None:
    rows = CallRows("other", 4, 0)
    plain = Call("predict", "train.py", 9, None, {}, 1, None, False, 0, True, None, rows, 32)
    inside = tuple(replace(plain, epoch=epoch, version=epoch) for epoch in range(1, 11))
    after = (replace(plain, line=20), replace(plain, line=20))
    text = str(replace(examples.single_batch(), calls=(*inside, *after)))
    check(text)
    assert text.count("train.py:9 predict in epoch") == 1 and "train.py:9 predict in epoch 10" in text
    assert "train.py:9 predict: 9 more calls in earlier epochs" in text
    assert text.count("train.py:20 predict made") == 2, "after the fit each stands for itself"
