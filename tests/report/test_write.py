"""The files of a report."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from diagnose.errors import DiagnoseError
from diagnose.report import write_reports
from diagnose.report.json import loads
from tests.report import examples


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_one_fit(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    written = write_reports([examples.single_batch()], out)
    assert names(written) == ["report.html", "diagnosis.json", "timeline.png", "ledger.png"]
    assert {path.name for path in out.iterdir()} == set(names(written))
    assert len(loads((out / "diagnosis.json").read_text("utf-8"))) == 1
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_several_fits_and_what_an_earlier_report_left(tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "fit-7-ledger.png").write_bytes(b"old")
    (tmp_path / "fit-1.diag").write_bytes(b"trace")
    fits = [examples.single_batch(), replace(examples.interrupted(), fit=2), replace(examples.aligned(), fit=4)]
    written = write_reports(fits, tmp_path)
    assert names(written) == [
        "report.html", "diagnosis.json", "timeline.png", "ledger.png",
        "fit-2-timeline.png", "fit-4-timeline.png", "fit-4-ledger.png",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {*names(written), "fit-1.diag"}


def test_fits_with_the_same_number_do_not_overwrite_each_other(tmp_path: Path) -> None:
    written = write_reports([examples.single_batch()] * 3, tmp_path)
    assert len(set(written)) == len(written) == 8


def test_a_fit_with_nothing_to_draw(tmp_path: Path) -> None:
    (tmp_path / "ledger.png").write_bytes(b"old")
    assert names(write_reports([examples.empty()], tmp_path)) == ["report.html", "diagnosis.json"]
    assert not (tmp_path / "ledger.png").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiagnoseError, match="cannot be written"):
        write_reports([examples.empty()], tmp_path / "file")
    with pytest.raises(DiagnoseError, match="cannot be written"):
        examples.empty().to_json(tmp_path / "missing" / "diagnosis.json")


@pytest.mark.skipif(os.name != "posix", reason="modes and links")
def test_reports_are_nobody_elses_to_read_and_no_link_is_written_through(tmp_path: Path) -> None:
    """Neither one at the place of a file, nor any of a name that others could guess."""
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    out.mkdir()
    mine.write_text("mine")
    for name in ("report.html", f".report.html.{os.getpid()}.part", f".diagnosis.json.{os.getpid()}.part"):
        (out / name).symlink_to(mine)
    before = os.umask(0)
    try:
        written = write_reports([examples.single_batch()], out)
    finally:
        os.umask(before)
    assert mine.read_text() == "mine"
    assert {stat.S_IMODE(path.lstat().st_mode) for path in written} == {0o600}
    assert not any(path.is_symlink() for path in written)


def test_nothing_is_left_of_a_file_that_cannot_be_put_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DiagnoseError, match="cannot be written"):
        write_reports([examples.empty()], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_to_html_and_to_json(tmp_path: Path) -> None:
    diagnosis = examples.single_batch()
    diagnosis.to_html(str(tmp_path / "r.html"))
    diagnosis.to_json(tmp_path / "d.json")
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert loads((tmp_path / "d.json").read_text("utf-8"))[0].headline == diagnosis.headline
    assert len(list(tmp_path.iterdir())) == 2


def test_heavy_libraries_load_only_when_used() -> None:
    code = """
import sys
import diagnose.result.diagnosis, diagnose.result.codec, diagnose.report, diagnose.report.json, diagnose.report.terminal
heavy = {"pandas", "matplotlib", "jinja2", "keras", "tensorflow"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from tests.report import examples
str(examples.single_batch())
assert not heavy & set(sys.modules), heavy & set(sys.modules)
examples.single_batch()._repr_html_()
assert not {"pandas", "keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
