"""Whether `tools/run_tests.py` runs each test in one of its parts, and ends with 1 where one of either fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import run_tests as runner

INI = "[pytest]\nmarkers =\n    any_backend\npythonpath = .\n"
FILE = """import os
import pytest

def ran(name):
    with open("ran.txt", "a") as file:
        print(name, os.environ["KERAS_BACKEND"], file=file)

def test_of_tensorflow():
    ran("of tensorflow")
    assert {first}

@pytest.mark.any_backend
def test_of_any():
    ran("of any")
    assert {second}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to import than pytest
    (tmp_path / "pytest.ini").write_text(INI)
    return tmp_path


def both(place: Path, monkeypatch: pytest.MonkeyPatch, torch: bool = True, **holds: bool) -> tuple[int, list[str]]:
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: torch or None)
    (place / "test_them.py").write_text(FILE.format(**holds))
    code = runner.main(["-q", "-p", "no:cacheprovider"])
    return code, (place / "ran.txt").read_text().splitlines()


@pytest.mark.parametrize(("first", "second"), [(True, True), (False, True), (True, False)])
def test_each_runs_once_and_either_part_can_fail(
    first: bool, second: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, ran = both(place, monkeypatch, first=first, second=second)
    assert ran == ["of tensorflow tensorflow", "of any torch"]
    assert code == (0 if first and second else 1)


def test_without_torch_all_run_on_tensorflow(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, ran = both(place, monkeypatch, torch=False, first=True, second=True)
    assert (code, ran) == (0, ["of tensorflow tensorflow", "of any tensorflow"])


def test_asking_for_a_test_of_one_part_is_no_failure_but_for_none_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "test_them.py").write_text(FILE.format(first=True, second=True))
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: True)
    assert runner.main(["-q", "-k", "test_of_any"]) == 0
    assert runner.main(["-q", "-k", "no such"]) == 1
