"""Whether `tools/run_tests.py` runs each test in one of its parts, and ends with 1 where one of either fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import ROOT
from tools import run_tests as runner

INI = "[pytest]\nmarkers =\n    any_backend\n"
CONFTEST = "from tests.conftest import pytest_collectreport, pytest_itemcollected, pytest_runtest_logreport\n"
HEAD = """import os
import pytest

BACKEND = os.environ["KERAS_BACKEND"]

def ran(name):
    with open("ran.txt", "a") as file:
        print(name, BACKEND, file=file)
"""
RECORDED = """
def test_recorded():
    ran("recorded")
    assert {first}
"""
FITS = """
def test_fits():
    ran("fits")
    assert {second}

@pytest.mark.skipif(BACKEND == "torch", reason="graphs")
def test_graphs():
    ran("graphs")
"""
PIPELINES = """
if BACKEND == "torch":
    pytest.skip("pipelines", allow_module_level=True)

def test_pipelines():
    ran("pipelines")
"""
ONLY_TENSORFLOWS = ["graphs tensorflow", "pipelines tensorflow", "recorded tensorflow"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three files of tests, one in a folder that is TensorFlow's by `tests/conftest.py`."""
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to import than pytest
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("SKIPPED_TO", "SKIPPED_ELSEWHERE", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests" / "record").mkdir(parents=True)
    return tmp_path


def both(place: Path, monkeypatch: pytest.MonkeyPatch, torch: bool = True, **holds: bool) -> tuple[int, list[str]]:
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: torch or None)
    (place / "tests" / "record" / "test_recorded.py").write_text(HEAD + RECORDED.format(**holds))
    (place / "tests" / "test_fits.py").write_text(HEAD + FITS.format(**holds))
    (place / "tests" / "test_pipelines.py").write_text(HEAD + PIPELINES)
    code = runner.main(["-q", "-p", "no:cacheprovider"])
    return code, sorted((place / "ran.txt").read_text().splitlines())


@pytest.mark.parametrize(("first", "second"), [(True, True), (False, True), (True, False)])
def test_each_runs_once_and_either_part_can_fail(
    first: bool, second: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, ran = both(place, monkeypatch, first=first, second=second)
    assert ran == sorted([*ONLY_TENSORFLOWS, "fits torch"]), "what is skipped on torch runs on TensorFlow"
    assert code == (0 if first and second else 1)


def test_without_torch_all_run_on_tensorflow(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, ran = both(place, monkeypatch, torch=False, first=True, second=True)
    assert (code, ran) == (0, sorted([*ONLY_TENSORFLOWS, "fits tensorflow"]))


def test_asking_for_a_test_of_one_part_is_no_failure_but_for_none_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: True)
    (place / "tests" / "test_fits.py").write_text(HEAD + FITS.format(second=True))
    assert runner.main(["-q", "-k", "test_fits"]) == 0
    assert runner.main(["-q", "-k", "no such"]) == 1
