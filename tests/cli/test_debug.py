"""What a verb did not expect: one line on stderr, and the traceback with `--debug`."""

from __future__ import annotations

from pathlib import Path

import pytest

from diagnose.cli import COMMANDS, main
from diagnose.errors import TraceError
from tests.hostile import whole


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    whole.write(tmp_path / "a.diag")
    return tmp_path / "a.diag"


def test_an_error_of_ours_is_one_line_and_a_traceback_where_asked_for(
    trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("no\x1b[31m such\nthing")

    monkeypatch.setattr("diagnose.policies.table.table", broken)
    assert main(["policies", str(trace), "--metric", "loss"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("diagnose: an error in diagnose itself: KeyError: ") and errors.count("\n") == 1
    assert errors.endswith("; --debug shows it\n") and "\x1b" not in errors
    assert main(["policies", str(trace), "--metric", "loss", "--debug"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Traceback") and "in broken" in errors and "\x1b" not in errors
    assert errors.splitlines()[-1].startswith("diagnose: an error in diagnose itself: KeyError: ")


def test_an_analysis_that_breaks_on_a_file_says_so_and_goes_on(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diagnose.analysis.analyze import analyse
    from diagnose.tracefile.reader import read_trace

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("diagnose.analysis.analyze.headline", broken)
    with read_trace(trace) as opened:
        found = analyse(opened)
    assert any("an error in diagnose itself (headline" in problem for problem in found.problems)
    assert any("ZeroDivisionError: of all things" in problem for problem in found.problems)


def test_records_that_no_analysis_can_begin_with_are_a_trace_error(
    trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diagnose.analysis.analyze import analyse
    from diagnose.tracefile.reader import read_trace

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("diagnose.analysis.analyze.reevaluated_epochs", broken)
    with read_trace(trace) as opened, pytest.raises(TraceError, match=r"cannot be analysed.*ZeroDivisionError: of all"):
        analyse(opened)


def test_debug_shows_where_a_refusal_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.diag").write_bytes(b"no trace")
    assert main(["report", str(tmp_path / "a.diag"), "--debug"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1].startswith("diagnose: ")
    assert main(["report", str(tmp_path / "a.diag")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "--debug" in capsys.readouterr().out


def test_a_function_of_the_users_that_raises_is_named(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_raises.py").write_text("def model():\n    return {}['weights']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["report", str(trace), "--model", "mine_raises:model"]) == 1
    errors = capsys.readouterr().err
    assert errors == "diagnose: --model mine_raises:model: KeyError: 'weights'; --debug shows where.\n"
