"""What `tools/releases.py` asks pip for, and what it makes of pytest's report. The runs themselves are `.ci/run`'s."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import releases

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase classname="tests.record.test_a" name="test_one[x]"/>
<testcase classname="tests.record.test_a" name="test_two"><skipped message="about the jax backend"/></testcase>
<testcase classname="tests.record.test_a" name="test_three"><failure message="no">assert</failure></testcase>
<testcase classname="tests.record.test_a" name="test_three"><error message="no">teardown</error></testcase>
<testcase classname="tests.replay.test_b" name="test_four"><error message="no">set-up</error></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_pip_is_asked_for_this_keras_this_backend_and_the_test_tools(backend: str) -> None:
    wanted = releases.requirements("3.10", backend)
    names = [one.replace("=", ">").partition(">")[0] for one in wanted]
    assert wanted[0] == "keras==3.10.*" and names == [
        "keras",
        backend,
        "hypothesis",
        "jsonschema",
        "pytest",
        "pytest-xdist",
    ]
    assert releases.requirements(releases.NEWEST, backend)[0] == "keras"


def test_the_next_attempt_is_below_the_minor_release_that_failed() -> None:
    assert releases.below("2.19.1") == "<2.19" and releases.below("0.10.2") == "<0.10"
    assert releases.below("2.13.0+cpu") == "<2.13"


def test_the_reason_is_the_line_that_names_the_error() -> None:
    assert (
        releases.last_line("Traceback\n  File\nAttributeError: no spmd_mode\n\nnote: see there\n")
        == "AttributeError: no spmd_mode"
    )
    assert releases.last_line("only this\n") == "only this"


def test_failing_tests_are_counted_once_and_named_as_pytest_takes_them(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    passed, skipped, failed = releases.read_report(tmp_path / "report.xml")
    assert (passed, skipped) == (1, 1)
    assert failed == ("tests/record/test_a.py::test_three", "tests/replay/test_b.py::test_four")


def test_the_table_names_what_failed_below() -> None:
    versions = {"keras": "3.8.0", "jax": "0.5.3", "numpy": "2.4.6"}
    good = releases.Result("3.8", "jax", versions, 90, 5, (), 80.0, 130.0, notes=("jax 0.6.2 cannot train",))
    bad = releases.Result("newest", "jax", {**versions, "keras": "3.15.1"}, 89, 5, ("tests/a.py::test_b",), 20.0, 99.6)
    none = releases.Result("3.9", "torch", {}, trouble="pip: no such release")
    lines = releases.table([good, bad, none]).splitlines()
    assert lines[2] == "| 3.8.0 | jax | jax 0.5.3, numpy 2.4.6 | 90 | 0 | 5 | 80 s | 130 s |"
    assert lines[3] == "| 3.15.1 (newest) | jax | jax 0.5.3, numpy 2.4.6 | 89 | 1 | 5 | 20 s | 100 s |"
    assert lines[4] == "| 3.9 | torch | – | 0 | **stopped** | 0 | 0 s | 0 s |"
    assert lines[6:] == [
        "- Keras 3.8.0, jax: jax 0.6.2 cannot train",
        "- Keras 3.15.1 (newest), jax: `tests/a.py::test_b` failed",
        "- Keras 3.9, torch: pip: no such release",
    ]
    assert [result.good for result in (good, bad, none)] == [True, False, False]
    assert not releases.Result("3.8", "jax", versions).good, "an environment in which no test ran proves nothing"


def test_an_environment_is_made_once_where_it_is_taken_as_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(folder: Path, release: str, backend: str) -> tuple[Path, dict[str, str], tuple[str, ...]]:
        made.append(backend)
        return folder / "python", {"keras": "3.15.1"}, ("a note",)

    monkeypatch.setattr(releases, "make_environment", make)
    monkeypatch.setattr(releases, "run_tests", lambda python, *rest: f"no tests by {python}")
    first = releases.one("newest", "jax", tmp_path, None)
    assert first.trouble is None and first.passed == 0
    then = releases.one("newest", "jax", tmp_path, [], as_made=True)
    assert made == ["jax"] and (then.versions, then.notes) == (first.versions, first.notes)
    assert then.trouble == f"no tests by {tmp_path / 'python'}"
    releases.one("newest", "jax", tmp_path, [])
    assert made == ["jax", "jax"]


@pytest.mark.parametrize(
    "words", [["--releases", "3"], ["--pairs", "3.8:theano"], ["--pairs", "jax"], ["--backends", "mlx"]]
)
def test_a_wrong_argument_is_a_usage_error_before_anything_is_installed(words: list[str]) -> None:
    command = [sys.executable, str(Path(releases.__file__)), *words]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 2
