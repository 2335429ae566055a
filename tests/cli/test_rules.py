"""`diagnose rules`: the rules over a saved trace, without Keras."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from diagnose.rules import RULES
from tests.cli.command import fits
from tests.cli.warm import without_keras
from tests.conftest import Pair


@pytest.fixture
def folder(two_fits: Pair, tmp_path: Path) -> Path:
    shutil.copy(two_fits.traced.out / "fit-1.diag", tmp_path / "moved.diag")
    return tmp_path


def test_finds_what_the_run_found(folder: Path, two_fits: Pair) -> None:
    done = without_keras("rules", "moved.diag", "--json", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == fits(two_fits.traced.out)[0]["findings"]


def test_a_line_for_each_rule(folder: Path) -> None:
    done = without_keras("rules", "moved.diag", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    told = [line.partition("] ")[2].partition(": ")[0] for line in done.stdout.splitlines()]
    assert sorted(told) == sorted(RULES)


def test_one_rule_comes_with_evidence_and_advice(folder: Path, two_fits: Pair) -> None:
    failed = next(f for f in fits(two_fits.traced.out)[0]["findings"] if f["status"] == "failed")
    done = without_keras("rules", "moved.diag", "--only", failed["rule"], cwd=folder)
    assert done.code == 0
    assert done.stdout.startswith(f"[{failed['severity']}] {failed['rule']}: {failed['title']}\n")
    assert failed["advice"] in done.stdout
    assert all(f"  {key}: " in done.stdout for key in failed["evidence"])


def test_a_rule_that_does_not_exist(folder: Path) -> None:
    done = without_keras("rules", "moved.diag", "--only", "no-such-rule", cwd=folder)
    assert done.code == 2 and done.error.startswith("There is no rule 'no-such-rule'. The rules are ")
