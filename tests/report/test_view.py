"""What a report says, apart from the timeline."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from diagnose.report.epoch_table import MOST_ROWS, build_epochs
from diagnose.report.evidence_view import size_text
from diagnose.report.ledger_view import MOST_LEDGERS, ledger_view
from diagnose.report.prose import blocks, facts
from diagnose.report.view import build
from diagnose.result.diagnosis import Finding, Ledger, LedgerEntry
from tests.report import examples


def test_the_waterfall_walks_from_logged_to_evaluated() -> None:
    ledger = Ledger(3, "loss", 2.0, 1.0, -1.0, (LedgerEntry("weights-lag", -1.5, -2.0, -1.0), LedgerEntry("dropout", 0.4, 0.4, 0.4)), 0.1)  # fmt: skip  # noqa: E501
    rows = ledger_view(ledger).rows
    assert [row.kind for row in rows] == ["logged", "factor", "factor", "residual", "evaluated"]
    assert [row.label for row in rows] == ["logged, epoch 3", "weights lag", "dropout", "residual", "evaluated"]
    for before, after in itertools.pairwise(rows):
        assert math.isclose(before.end, after.start)
    assert [row.text for row in rows] == ["2.0000", "-1.5000", "+0.40000", "+0.1", "1.0000"]
    assert [row.has_range for row in rows] == [False, True, False, False, False]
    assert (rows[1].low_text, rows[1].high_text) == ("-2.00", "-1.00")


def test_close_ends_of_a_ledger_are_told_apart() -> None:
    view = ledger_view(Ledger(1, "loss", 0.5, 0.50000001, 1e-8, (), 1e-8))
    assert view.title == "loss, epoch 1: 0.50000000 logged, 0.50000001 evaluated, gap +1.0000e-08"


def test_ledgers_of_the_key_metric_are_drawn_and_the_others_listed() -> None:
    view = build(examples.single_batch())
    assert [(one.metric, one.epoch) for one in view.ledgers] == [("loss", 6), ("loss", 8)]
    assert [(one.metric, one.epoch) for one in view.other_ledgers] == [("mae", 6)]
    # A validation monitor has no ledger of its own; the training value of the same metric does.
    assert {one.metric for one in build(examples.aligned()).ledgers} == {"loss"}


def test_of_many_ledgers_the_best_epoch_is_drawn() -> None:
    base = examples.single_batch()
    many = tuple(replace(base.ledgers[0], epoch=epoch) for epoch in range(1, 21))
    view = build(replace(base, ledgers=many))
    assert [one.epoch for one in view.ledgers] == [6, 18, 19, 20]
    assert len(view.ledgers) == MOST_LEDGERS and len(view.other_ledgers) == 16


def test_epoch_table() -> None:
    table = build_epochs(examples.single_batch())
    assert [(c.metric, c.parts) for c in table.columns] == [
        ("loss", ("logged", "re-evaluated")),
        ("mae", ("logged", "re-evaluated")),
    ]
    row = table.rows[5]
    assert (row.epoch, row.computed_at, row.ends_at, row.analysed) == (6, "5", "6", True)
    assert [cell.text for cell in row.cells[:2]] == ["33.216", "38.882"]
    assert row.cells[0].exact == "33.2164"
    assert row.marks == ("best logged", "restored")
    assert table.rows[4].marks == ("best re-evaluated",)
    assert build_epochs(examples.many_batches()).rows[1].computed_at == "16–31"


def test_in_the_epoch_table_two_values_side_by_side_differ() -> None:
    base = examples.single_batch()
    rows = (replace(base.epoch_rows[0], logged={"loss": 0.3}, reevaluated={"loss": 0.1 + 0.2}), *base.epoch_rows[1:])
    logged, again = build_epochs(replace(base, epoch_rows=rows)).rows[0].cells[:2]
    assert logged.text != again.text and float(logged.text) == 0.3 and float(again.text) == 0.1 + 0.2


def test_validation_columns_come_last_and_have_no_second_value() -> None:
    table = build_epochs(examples.aligned())
    assert [(c.metric, len(c.parts)) for c in table.columns] == [("accuracy", 2), ("loss", 2), ("val_loss", 1)]
    assert table.has_validation


def test_a_very_long_table_keeps_what_matters() -> None:
    diagnosis = examples.many_batches(3000, 2)
    table = build_epochs(diagnosis)
    assert len(table.rows) <= MOST_ROWS and len(table.rows) + table.left_out == 3000
    assert diagnosis.restoration is not None
    assert {1, 3000, diagnosis.restoration.best_epoch} <= {row.epoch for row in table.rows}


def test_restoration() -> None:
    view = build(examples.single_batch()).restoration
    assert view is not None and (view.verdict, view.tone) == ("shifted", "bad")
    assert [(r.what, r.epoch, r.value, r.where) for r in view.rows] == [
        ("best logged", "epoch 6", "33.216", "computed at version 5"),
        ("restored", "epoch 6", "38.882", "version 6"),
        ("best by re-evaluation", "epoch 5", "33.216", "version 5"),
    ]
    assert "The version held is 1 update later than that." in view.notes
    not_restored = build(examples.interrupted()).restoration
    assert not_restored is not None and not_restored.rows[1].what == "held after fit"


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        ({}, "is an average over steps with different weights"),
        ({"computed_at": None}, "computed is not known"),
        ({"confirmed": False}, "did not give the best logged value"),
    ],
)
def test_a_verdict_without_an_owner_says_why(change: dict[str, Any], meaning: str) -> None:
    diagnosis = examples.many_batches()
    assert diagnosis.restoration is not None and diagnosis.restoration.verdict == "no-owner"
    view = build(replace(diagnosis, restoration=replace(diagnosis.restoration, **change)))
    assert view.restoration is not None and meaning in view.restoration.meaning


def test_findings_wrong_first_then_notable_each_in_the_order_of_the_diagnosis() -> None:
    def finding(rule: str, status: str, severity: str | None = None) -> Finding:
        return Finding(rule, status, rule, {}, "", "loss", 1.0, severity=severity)  # type: ignore[arg-type]

    given = (
        finding("p", "passed"),
        finding("n", "not-applicable"),
        finding("calm", "failed", "notable"),
        finding("first", "failed", "wrong"),
        finding("old", "failed"),  # of a release that knew no severity
        finding("second", "failed", "wrong"),
    )
    view = build(replace(examples.single_batch(), findings=given))
    assert [f.rule for f in view.failed] == ["first", "second", "old", "calm"]
    assert ([f.rule for f in view.not_applicable], [f.rule for f in view.passed]) == (["n"], ["p"])
    assert view.counts == "2 wrong, 1 failed, 1 notable, 1 not applicable, 1 passed"
    assert [f.word for f in view.failed] == ["Wrong", "Wrong", "Failed", "Notable"]


def test_what_is_only_notable_is_not_shown_as_bad() -> None:
    base = examples.single_batch()
    calm = tuple(replace(f, severity="notable") if f.status == "failed" else f for f in base.findings)
    assert (base.mismatch, build(base).tone) == (True, "bad")
    notable = replace(base, findings=calm)
    view = build(notable)
    assert not notable.mismatch and view.restoration is not None
    assert (view.tone, view.restoration.tone, view.restoration.verdict) == ("neutral", "neutral", "shifted")
    without = build(replace(notable, restoration=None))
    assert (without.tone, build(replace(base, restoration=None)).tone) == ("neutral", "bad")


def test_advice_is_split_into_text_and_code() -> None:
    found = blocks("Do `this`:\n```python\n    a = 1\n      b\n```\nThen that.\n\nEnd ```x``` and ```open\nrest")
    assert [(b.kind, b.text) for b in found] == [
        ("text", "Do this:"),
        ("code", "a = 1\n  b"),
        ("text", "Then that."),
        ("text", "End"),
        ("code", "x"),
        ("text", "and"),
        ("code", "rest"),
    ]
    assert [piece.code for piece in found[0].pieces] == [False, True, False]


def test_code_keeps_its_lines_through_the_view() -> None:
    advice = "```\nif a:\n\tb = '<x>'\n```"
    (finding,) = build(replace(examples.single_batch(), findings=(Finding("r", "failed", "t", {}, advice),))).failed
    assert [block.text for block in finding.advice] == ["if a:\n    b = '<x>'"]


def test_facts() -> None:
    shown = facts(
        {"a_b": 0.1 + 0.2, "c": 0.3, "n": math.nan, "l": list(range(20)), "t": True, "none": None, "one": 1.0}
    )
    assert [(f.name, f.text) for f in shown] == [
        ("a b", "0.30000000000000004"),
        ("c", "0.3"),
        ("n", "NaN"),
        ("l", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … (20 in all)"),
        ("t", "yes"),
        ("none", "none"),
        ("one", "1"),
    ]


def test_evidence() -> None:
    view = build(examples.many_batches()).evidence
    assert view.replay == (
        "All 32 steps computed again (epochs 1, 10) came out as recorded; the fit has 160. "
        "Other epochs were not analysed."
    )
    loss = view.errors[0]
    assert (loss.metric, loss.error.text, loss.within) == ("loss", "4.10e-07", True)
    assert loss.residual is not None and loss.residual.text == "3.00e-08"
    assert ("weights versions", "161 of 161 kept: the weights of every update") in [
        (f.name, f.text) for f in view.facts
    ]
    broken = build(examples.not_finite()).evidence
    assert broken.errors[0].within is False and broken.errors[0].error.text == "NaN"
    assert broken.errors[0].residual is not None and broken.errors[0].residual.text == "NaN"
    assert build(examples.interrupted()).evidence.replay == "No step was computed again."


def test_size_text() -> None:
    assert [size_text(n) for n in (812, 1000, 196608, 4_812_800, 3 * 10**9)] == [
        "812 bytes", "1 kB", "197 kB", "4.81 MB", "3 GB",
    ]  # fmt: skip
