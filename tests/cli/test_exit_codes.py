"""The exit code of `run` is the script's, whatever becomes of the analysis and of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import SCRIPTS, Done, fits
from tests.cli.warm import diagnose

WAYS = {
    "nothing": ("nothing", "0"),
    "analysis": ("analysis", "0"),
    "report": ("report", "0"),
    "folder": ("folder", "4"),
    "everything": ("everything", "0"),
    "traces": ("traces", "4"),
    "gate": ("analysis", "0", "--fail-on-mismatch"),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, Path]]:
    found = {}
    for name, (how, code, *options) in WAYS.items():
        cwd = tmp_path_factory.mktemp(name)
        done = diagnose("run", SCRIPTS / "breaks.py", "--out", "out", *options, "--", how, code, cwd=cwd)
        found[name] = done, cwd / "out"
    return found


def lines(done: Done) -> list[str]:
    """What we say on standard error; a traceback is never among it."""
    assert "Traceback" not in done.stderr
    return [line.removeprefix("diagnose: ") for line in done.stderr.splitlines() if line.startswith("diagnose: ")]


def test_a_model_that_cannot_be_evaluated(ended: dict[str, tuple[Done, Path]]) -> None:
    done, out = ended["nothing"]
    (line,) = lines(done)
    assert done.code == 0
    assert line.startswith("fit 1: not everything could be computed: evaluating the model raised RuntimeError: this ")
    assert "this model is not for evaluate (test_step in breaks.py, line 15)" in line
    first, second = fits(out)
    assert first["problems"] and first["ledgers"] == [] and first["replay"]["reproduced"] == 2
    assert second["problems"] == [] and second["ledgers"] and second["replay"]["reproduced"] == 2
    assert "not for evaluate" in first["notice"] and "not for evaluate" in done.stdout


def test_an_error_of_ours_in_the_analysis(ended: dict[str, tuple[Done, Path]]) -> None:
    done, out = ended["analysis"]
    assert done.code == 0 and len(lines(done)) == 2
    assert "fit 2: not everything could be computed: an error in diagnose itself (ledgers" in lines(done)[1]
    assert [fit["restoration"]["verdict"] for fit in fits(out)] == ["shifted", "shifted"]
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(("way", "code"), [("report", 0), ("folder", 4)])
def test_a_report_that_cannot_be_written(way: str, code: int, ended: dict[str, tuple[Done, Path]]) -> None:
    done, _ = ended[way]
    assert done.code == code and len(lines(done)) == 2
    assert "report" in lines(done)[1]
    assert done.stdout.count("fit logged loss") + done.stdout.count("EarlyStopping restored") >= 2  # the summaries
    assert "Report:" not in done.stdout


@pytest.mark.parametrize(("way", "code"), [("everything", 0), ("traces", 4)])
def test_fits_that_were_traced_and_cannot_be_analysed(way: str, code: int, ended: dict[str, tuple[Done, Path]]) -> None:
    done, out = ended[way]
    assert done.code == code
    first, second, last = lines(done)
    assert first.startswith("fit 1 could not be analysed") and second.startswith("fit 2 could not be analysed")
    assert last.startswith("no fit of ") and not (out / "report.html").exists()


def test_the_gate_holds_where_the_script_ended_well(ended: dict[str, tuple[Done, Path]]) -> None:
    assert ended["gate"][0].code == 3
