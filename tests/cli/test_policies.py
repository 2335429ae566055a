"""`diagnose policies`: from a trace alone, in a process without Keras, and with the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.command import strict_json
from tests.cli.test_report import MODEL
from tests.cli.warm import diagnose, without_keras
from tests.conftest import Pair, Traced


@pytest.fixture
def folder(shipped: dict[str, Traced], two_fits: Pair, tmp_path: Path) -> Path:
    shutil.copy(shipped["many_batches_val"].out / "fit-1.diag", tmp_path / "val.diag")
    shutil.copy(two_fits.traced.out / "fit-1.diag", tmp_path / "moved.diag")
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path


def test_table_without_keras(folder: Path) -> None:
    done = without_keras("policies", "val.diag", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("judged by val_loss\n")
    assert "\n* EarlyStopping on val_loss" in done.stdout
    assert "where this trace ends)" in done.stdout


def test_json_has_the_policies_asked_for_judged_by_the_metric_asked_for(folder: Path) -> None:
    policy = "EarlyStopping(monitor='val_loss', patience=1, restore_best_weights=True)"
    done = without_keras("policies", "val.diag", "--json", "--metric", "val_accuracy", "--policy", policy, cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    table = strict_json(done.stdout)
    assert table["metric"] == "val_accuracy"
    (row,) = table["rows"]
    assert row["policy"] == policy and row["held_epoch"] is not None


def test_with_the_model_epochs_are_evaluated_again(folder: Path) -> None:
    words = ("policies", "moved.diag", "--json", "--metric", "loss")
    done = diagnose(*words, "--model", "models:build", cwd=folder)
    assert done.code == 0, done.stderr
    rows = [row for row in strict_json(done.stdout)["rows"] if row["reason"] is None]
    assert rows and all(row["held_value"] is not None for row in rows)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("--metric", "f1"), 1, "no metric 'f1'"),
        (("--policy", "Stop()"), 2, "EarlyStopping"),
        (("--policy", "EarlyStopping(patience=print())"), 2, "--policy"),
    ],
)
def test_what_cannot_be_asked_is_one_clear_error(words: tuple[str, ...], code: int, named: str, folder: Path) -> None:
    done = without_keras("policies", "val.diag", *words, cwd=folder)
    assert (done.code, done.stdout) == (code, "")
    assert named in done.error
