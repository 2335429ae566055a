"""Where a report goes: never over an earlier one unasked."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diagnose.errors import DiagnoseError
from diagnose.report.folder import REPORT, TRACES, claimed

ROOT = Path(__file__).parents[2]
BOTH = f"{TRACES}|{REPORT}"


def chosen(out: Path, **options: object) -> str:
    with claimed(out, **options) as folder:  # type: ignore[arg-type]
        assert folder.is_dir()
        return folder.name


@pytest.mark.parametrize("name", ["report.html", "diagnosis.json", "timeline.png", "fit-3-ledger.png"])
def test_a_folder_with_an_earlier_report_is_left_alone(name: str, tmp_path: Path) -> None:
    out = tmp_path / "a" / "r"
    assert chosen(out) == "r"
    (out / "notes.txt").write_text("mine")
    assert chosen(out) == "r"
    (out / name).write_text("earlier")
    assert chosen(out) == "r-1"
    (tmp_path / "a" / "r-1" / name).write_text("earlier")
    assert chosen(out) == "r-2"
    assert chosen(out, force=True) == "r"
    assert (out / name).read_text() == "earlier"


def test_traces_without_a_report_are_an_earlier_run_too(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "fit-1.diag").write_text("of a killed run")
    assert (chosen(tmp_path / "r"), chosen(tmp_path / "r", ours=BOTH)) == ("r", "r-1")


def test_the_same_report_is_not_put_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "diagnosis.json").write_bytes(b"one")
    assert chosen(tmp_path / "r", same={"diagnosis.json": b"one"}) == "r"
    assert chosen(tmp_path / "r", same={"diagnosis.json": b"two"}) == "r-1"


def test_a_folder_without_a_name_gets_none_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with claimed(Path(".")) as folder:
        assert folder == Path(".")
    Path("report.html").touch()
    with pytest.raises(DiagnoseError, match="--force"):
        chosen(Path("."))


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("mine")
    with pytest.raises(DiagnoseError, match=r"Cannot write reports to .*r: .*Choose another --out"):
        chosen(tmp_path / "r")
    assert (tmp_path / "r").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="locks on folders")
def test_runs_that_start_at_once_into_one_folder_are_kept_apart(tmp_path: Path) -> None:
    """Each holds its folder, which is empty as long as the script has not come to a fit."""
    code = """
import sys
from pathlib import Path
from diagnose.report.folder import claimed
with claimed(Path(sys.argv[1])) as folder:
    print(folder.name, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "r")]
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for _ in range(4)
        ]
        names = {run.stdout.readline().strip() for run in runs if run.stdout is not None}
        for run in runs:
            run.communicate()
    assert names == {"r", "r-1", "r-2", "r-3"}
    assert chosen(tmp_path / "r") == "r"  # let go, and nothing was left in it
