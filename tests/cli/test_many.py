"""`diagnose report` of several traces, and of traces that lie elsewhere. The oracle is the report of each alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import strict_json
from tests.cli.warm import without_keras
from tests.conftest import Pair


@pytest.fixture
def folder(two_fits: Pair, tmp_path: Path) -> Path:
    """Traces of two fits, two of one name in other folders, one that is cut off and one that is not there."""
    for number, name in ((1, "runs/a.diag"), (2, "runs/b.diag"), (1, "x/c.diag"), (2, "y/c.diag")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(two_fits.traced.out / f"fit-{number}.diag", tmp_path / name)
    (tmp_path / "runs" / "broken.diag").write_bytes((tmp_path / "runs" / "a.diag").read_bytes()[:5000])
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_each_has_its_report_and_a_broken_one_stops_none(folder: Path) -> None:
    names = ("runs/a.diag", "runs/broken.diag", "runs/b.diag", "runs/none.diag")
    done = without_keras("report", *names, cwd=folder)
    first, second = done.stderr.splitlines()
    assert done.code == 1
    assert first.startswith("diagnose: runs/broken.diag is truncated")
    assert second == "diagnose: There is no trace file runs/none.diag."
    for name in "ab":
        assert without_keras("report", f"runs/{name}.diag", "--out", f"alone/{name}", cwd=folder).code == 0
        assert contents(folder / "reports" / name) == contents(folder / "alone" / name)
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["reports/a", "reports/b"]
    assert lines[-1] == "2 of 4 traces reported, 2 could not be reported: reports/overview.json"

    overview = strict_json((folder / "reports" / "overview.json").read_text())
    assert [(t["trace"], t["report"], t["error"] is None) for t in overview["traces"]] == [
        ("runs/a.diag", "reports/a", True),
        ("runs/broken.diag", None, False),
        ("runs/b.diag", "reports/b", True),
        ("runs/none.diag", None, False),
    ]
    alone = json.loads((folder / "alone" / "a" / "diagnosis.json").read_text())["fits"][0]
    told = overview["traces"][0]
    assert (told["headline"], told["backend"]) == (alone["headline"], alone["backend"])
    wanted = [(f["rule"], f["severity"]) for f in alone["findings"] if f["status"] == "failed"]
    assert [(f["rule"], f["severity"]) for f in told["failed"]] == wanted


def test_of_one_name_and_as_json_and_by_other_processes(folder: Path) -> None:
    names = ("x/c.diag", "y/c.diag")
    done = without_keras("report", *names, "--out", "here", "--json", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert strict_json(done.stdout) == strict_json((folder / "here" / "overview.json").read_text())
    assert {p.name for p in (folder / "here").iterdir()} == {"x-c", "y-c", "overview.json"}

    there = without_keras("report", *names, "--out", "there", "--workers", "1", "--force", cwd=folder)
    assert (there.code, there.stderr) == (0, "")
    for name in ("x-c", "y-c"):
        assert contents(folder / "there" / name) == contents(folder / "here" / name)
