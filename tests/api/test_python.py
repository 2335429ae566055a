"""The Python API of the documentation, in a script of its own; oracles are Keras's own history and `evaluate`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import start, strict_json

SNIPPET = Path(__file__).with_name("scripts") / "snippet.py"


@pytest.fixture(scope="module")
def folder(scratch: Callable[[str], Path]) -> Path:
    return scratch("api")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    done = start(SNIPPET, folder, cwd=folder).done()
    assert done.code == 0, done.stderr
    assert "diagnose:" not in done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_ledger_is_a_table_that_adds_up_from_logged_to_evaluated(found: dict[str, Any]) -> None:
    ledger, attrs = found["ledger"]["rows"], found["ledger"]["attrs"]
    assert found["ledger"]["type"].startswith("pandas")
    assert attrs["metric"] == "accuracy" and attrs["epoch"] == 6
    assert attrs["logged"] == found["history"]["accuracy"][5]
    assert attrs["evaluated"] == pytest.approx(found["evaluate"]["accuracy"], abs=1e-7)
    assert attrs["gap"] == pytest.approx(attrs["evaluated"] - attrs["logged"], abs=1e-15)
    assert [row["factor"] for row in ledger][-1] == "residual"
    assert sum(row["amount"] for row in ledger) == pytest.approx(attrs["gap"], abs=1e-12)
    assert all(row["low"] <= row["amount"] <= row["high"] for row in ledger[:-1])


def test_epochs_and_steps_are_tables(found: dict[str, Any]) -> None:
    columns, rows, losses = found["epochs"]
    assert (rows, losses) == (6, found["history"]["loss"])
    assert columns[:3] == ["epoch", "first_version", "last_version"]
    assert {"logged_accuracy", "reevaluated_loss", "reevaluated_accuracy"} <= set(columns)
    columns, rows, computed_at = found["steps"]
    assert (rows, computed_at) == (24, list(range(24)))
    assert {"step", "epoch", "batch_index", "produced", "value_loss", "replayed_loss", "reproduced"} <= set(columns)


def test_restoration_is_the_verdict_or_none(found: dict[str, Any]) -> None:
    assert found["restoration"] == "no-owner"  # four batches per epoch, on loss
    assert found["nothing restores"] is None


def test_evaluation_data_is_what_was_given(found: dict[str, Any]) -> None:
    rows, evaluated = found["ten"]
    assert rows == 10
    assert evaluated == pytest.approx(found["evaluate ten"]["accuracy"], abs=1e-7)


def test_files_are_written(found: dict[str, Any], folder: Path) -> None:
    assert (folder / "runs" / "digits.diag").is_file()
    (fit,) = strict_json((folder / "diagnosis.json").read_text("utf-8"))["fits"]
    assert [epoch["logged"]["loss"] for epoch in fit["epochs"]] == found["history"]["loss"]
    page = (folder / "report.html").read_text("utf-8")
    first = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    assert first is not None and "No model has the best loss" in first[1]


def test_what_a_notebook_and_a_prompt_show(found: dict[str, Any]) -> None:
    assert found["notebook"].lstrip().startswith("<div") and "No model has the best" in found["notebook"]
    assert "<script" not in found["notebook"] and "<html" not in found["notebook"]
    assert "No model has the best loss" in found["repr"] and "\n" not in found["repr"]
    assert len(found["text"].splitlines()) <= 15


def test_analysis_leaves_the_model_as_it_was(found: dict[str, Any]) -> None:
    assert found["weights kept"] is True


def test_fit_that_raised_is_diagnosed_as_far_as_it_came(found: dict[str, Any]) -> None:
    error, notice, epochs, steps, status = found["stumbled"]
    assert error == "stumbled"
    assert "did not reach its end" in notice and status == "failed"
    assert (epochs, steps) == (2, 12)  # it stumbled while epoch 3 was ending


def test_each_fit_of_one_tracer_can_be_asked_for(found: dict[str, Any]) -> None:
    first_notice, second_notice, first_epochs, second_epochs = found["two fits"]
    assert "did not reach its end" in first_notice and second_notice is None
    assert (first_epochs, second_epochs) == (2, 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("nothing traced", "fit"),
        ("no such fit", "3"),
        ("no such metric", "recall"),
        ("no such epoch", "99"),
        ("html", "none/report.html"),
        ("json", "{folder}"),
        ("weights", "'all'"),
        ("path in a file", "report.html"),
        ("path is a folder", "{folder}"),
        ("path is no trace", "report.html"),
        ("unwritable", "/proc/none"),
    ],
)
def test_mistakes_are_one_named_error(call: str, named: str, found: dict[str, Any], folder: Path) -> None:
    """A path that cannot be written is refused when the tracer is made, not when training has begun."""
    message = found["errors"][call]
    assert named.format(folder=folder) in message
    assert "\n" not in message and message.endswith(".")
