"""`diagnose run` on a user's own script: everything the script sees and prints is as without the tool."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnose import read_trace
from tests.cli import warm
from tests.cli.command import BACKEND, SCRIPTS, diagnose, fits, start, start_diagnose, strict_json, without_times
from tests.conftest import Pair, Traced

Scratch = Callable[[str], Path]


# ── a script that works ──


def test_script_prints_and_sees_the_same(two_fits: Pair) -> None:
    """Arguments, __name__, __file__, path, siblings, pickles, backend of its own choice, losses, raw writes."""
    plain, traced = two_fits.plain, two_fits.traced.done
    assert plain.code == traced.code == 0, traced.stderr
    own, end, nothing = without_times(plain.stdout).rpartition("goodbye\n")
    assert (end, nothing) == ("goodbye\n", "") and "losses" in own and "written past Python" in own
    assert f"backend {BACKEND}" in own and "imported before []" in own and "'--rate', '0.1', '--', '-x'" in own
    printed = without_times(traced.stdout)
    assert printed.startswith(own)
    assert printed.endswith(end)


def test_script_leaves_the_same_on_standard_error(two_fits: Pair) -> None:
    assert two_fits.traced.done.stderr == two_fits.plain.stderr
    assert "val_loss` which is not available" in two_fits.plain.stderr  # a warning that Keras gives in fit


def test_summary_follows_the_scripts_output(two_fits: Pair) -> None:
    own = without_times(two_fits.plain.stdout).removesuffix("goodbye\n")
    ours = without_times(two_fits.traced.done.stdout).removeprefix(own).removesuffix("goodbye\n")
    assert ours.startswith("\nordinary | fit 1 | ")
    assert "\nordinary | fit 2 | " in ours
    assert ours.endswith("\nReport: out/report.html\n")
    assert all(len(block.strip("\n").splitlines()) <= 15 for block in ours.split("\n\n"))


def test_each_fit_has_its_trace_and_its_place_in_the_json(two_fits: Pair) -> None:
    out = two_fits.traced.out
    assert two_fits.traced.files >= {
        "fit-1.diag", "fit-2.diag", "report.html", "diagnosis.json",
        "timeline.png", "ledger.png", "fit-2-timeline.png", "fit-2-ledger.png",
    }  # fmt: skip
    assert not {name for name in two_fits.traced.files if "journal" in name or name.startswith(".")}
    losses = [
        json.loads(line.removeprefix("losses "))
        for line in two_fits.plain.stdout.splitlines()
        if line.startswith("losses ")
    ]
    found = fits(out)
    assert [fit["fit"] for fit in found] == [1, 2]
    assert [[epoch["logged"]["loss"] for epoch in fit["epochs"]] for fit in found] == losses
    assert [fit["backend"] for fit in found] == [BACKEND, BACKEND]
    for fit in found:
        with read_trace(out / f"fit-{fit['fit']}.diag") as trace:
            assert trace.sealed and trace.status == "complete"
            assert len(trace.steps) == fit["steps"]


@pytest.fixture(scope="module")
def again(two_fits: Pair) -> Traced:
    """One fit into a folder that held two, with --json and --force; the script ends with exit code 7; warnings are
    errors."""
    cwd = two_fits.traced.out.parent
    shutil.copytree(two_fits.traced.out, cwd / "again")
    (cwd / "again" / "notes.txt").write_text("mine")
    arguments = ("ordinary.py", "--json", "--fail-on-mismatch", "--force", "--out", "again", "--", "seven")
    return Traced.of(diagnose("run", *arguments, cwd=cwd, python=("-W", "error")), cwd / "again")


def test_with_force_a_later_run_replaces_what_an_earlier_one_left(again: Traced, two_fits: Pair) -> None:
    assert "fit-2.diag" in two_fits.traced.files
    assert again.files == {"fit-1.diag", "report.html", "diagnosis.json", "timeline.png", "ledger.png", "notes.txt"}
    assert len(fits(again.out)) == 1


def test_json_is_all_of_standard_output(again: Traced) -> None:
    """Not even what the script prints at exit, or writes past Python's own streams, gets between."""
    document = strict_json(again.done.stdout)
    assert document == strict_json((again.out / "diagnosis.json").read_text("utf-8"))
    for printed in ("arguments", "to the other stream", "written past Python", "goodbye"):
        assert printed in again.done.stderr
    assert "Report:" not in again.done.stderr


def test_scripts_exit_code_comes_before_ours(again: Traced) -> None:
    (fit,) = fits(again.out)
    assert any(finding["status"] == "failed" for finding in fit["findings"])  # else 3 would not be in question
    assert again.done.code == 7


def test_no_warning_is_set_off_even_where_warnings_are_errors(again: Traced) -> None:
    assert "Warning" not in again.done.stderr and "Traceback" not in again.done.stderr


def test_mismatch_gives_exit_code_3_only_where_asked_for(shipped: dict[str, Traced], two_fits: Pair) -> None:
    assert shipped["single_batch"].done.code == 3, shipped["single_batch"].done.stderr
    assert shipped["many_batches_val"].done.code == 0, shipped["many_batches_val"].done.stderr
    restoration = fits(two_fits.traced.out)[0]["restoration"]
    assert restoration["verdict"] == "shifted" and two_fits.traced.done.code == 0


# ── files of the user's ──


@pytest.fixture(scope="module")
def beside(scratch: Scratch) -> Traced:
    """A scenario that saves `best.keras`, where there is a file of that name and an earlier report."""
    cwd = scratch("beside")
    (cwd / "best.keras").write_text("mine")
    (cwd / "reports" / "two_bests").mkdir(parents=True)
    (cwd / "reports" / "two_bests" / "report.html").write_text("earlier")
    return Traced.of(diagnose("run", "two_bests", cwd=cwd, TMPDIR=str(scratch("aside"))), cwd / "reports/two_bests-1")


def test_a_scenario_leaves_nothing_in_the_working_folder(beside: Traced) -> None:
    assert beside.done.code == 0, beside.done.stderr
    cwd = beside.out.parents[1]
    assert sorted(path.name for path in cwd.iterdir()) == ["best.keras", "reports"]
    assert (cwd / "best.keras").read_text() == "mine"
    (saved,) = [f for f in fits(beside.out)[0]["findings"] if f["rule"] == "two-bests"]
    assert saved["status"] == "failed"  # its file was written all the same
    (aside,) = cwd.parent.glob("aside[0-9]")
    assert not [path.name for path in aside.iterdir() if path.name.startswith("diagnose-")]


def test_an_earlier_report_stays_and_the_last_line_says_where_this_one_is(beside: Traced) -> None:
    earlier = beside.out.with_name("two_bests")
    assert {path.name: path.read_text() for path in earlier.iterdir()} == {"report.html": "earlier"}
    assert beside.files >= {"fit-1.diag", "report.html", "diagnosis.json"}
    assert fits(beside.out)[0]["trace"]["path"] == "reports/two_bests-1/fit-1.diag"
    assert beside.done.stdout.endswith(
        "\nreports/two_bests holds an earlier report, which stays (--force replaces it).\n"
        "Report: reports/two_bests-1/report.html\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_what_a_run_writes_is_nobody_elses_to_read(beside: Traced) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in beside.out.iterdir()} == {0o600}


# ── callbacks ──


@pytest.fixture(scope="module")
def forms(scratch: Scratch) -> Traced:
    """Also run where the terminal can show ASCII only."""
    cwd = scratch("forms")
    done = diagnose(
        "run", SCRIPTS / "callback_forms.py", "--out", "out", "--", "mine.diag", cwd=cwd, PYTHONIOENCODING="ascii"
    )
    assert done.code == 0, done.stderr
    return Traced.of(done, cwd / "out")


def test_callbacks_of_every_form_are_called_as_always(forms: Traced) -> None:
    found = json.loads(forms.done.stdout.splitlines()[0])
    history = found.pop("history")
    wrong = found.pop("wrong argument")
    assert found == {
        "single": 2,
        "tuple": [2, 2],
        "positional": 2,
        "list": 4,  # two fits with one CallbackList
        "list unchanged": True,
        "own tracer": [2, 1],
    }
    assert len(history) == 2
    assert "no_such_argument" in wrong


def test_many_small_fits_set_off_what_tensorflow_says_of_keras_functions_and_nothing_of_ours(
    forms: Traced, scratch: Scratch
) -> None:
    """It warns of functions that are traced often: those of Keras, as often as in the plain run."""

    def warned(errors: str) -> list[str]:
        return [re.sub(r"0x[0-9a-f]+", "0x", line) for line in errors.splitlines() if "retracing" in line]

    plain = start(SCRIPTS / "callback_forms.py", "mine.diag", cwd=scratch("plain forms")).done()
    assert plain.code == 0 and warned(forms.done.stderr) == warned(plain.stderr)


def test_each_of_these_fits_is_traced_once(forms: Traced) -> None:
    found = fits(forms.out)
    # The seventh call was refused by Keras; the sixth fit has a tracer of its own, which writes where it was told to.
    assert [fit["fit"] for fit in found] == [1, 2, 3, 4, 5, 6, 8]
    assert all(fit["steps"] == fit["replay"]["reproduced"] == 2 for fit in found)
    traces = {name for name in forms.files if name.endswith(".diag")}
    assert traces == {f"fit-{number}.diag" for number in (1, 2, 3, 4, 5, 8)}
    assert Path(found[5]["trace"]["path"]).name == "mine.diag"
    with read_trace(forms.out.parent / "mine.diag") as trace:
        assert trace.status == "complete" and len(trace.steps) == 2


@pytest.mark.parametrize(("number", "name"), [(1, "Doubled"), (2, "Lambda")])
def test_stored_model_refuses_what_needs_code(forms: Traced, number: int, name: str) -> None:
    """Neither is built: that would run code which the trace names or holds."""
    done = warm.diagnose("report", f"out/fit-{number}.diag", "--stored-model", "--out", "again", cwd=forms.out.parent)
    assert done.code == 1 and done.stdout == ""
    assert f"'{name}'" in done.error and "--model MODULE:FUNCTION" in done.error
    assert not (forms.out.parent / "again").exists()


# ── a script that fails ──


@pytest.fixture(scope="module")
def failed(scratch: Scratch) -> Pair:
    cwd = scratch("failed")
    script = SCRIPTS / "fails.py"
    plain, traced = start(script, cwd=cwd), start_diagnose("run", script, "--out", "out", cwd=cwd)
    return Pair(plain.done(), Traced.of(traced.done(), cwd / "out"))


def test_traceback_is_the_one_python_prints(failed: Pair) -> None:
    assert "stumbled" in failed.plain.stderr
    assert failed.traced.done.stderr == failed.plain.stderr
    assert failed.traced.done.code == failed.plain.code == 1
    assert failed.traced.done.stdout.startswith(failed.plain.stdout)


def test_what_was_traced_before_the_error_is_reported(failed: Pair) -> None:
    first, second = fits(failed.traced.out)
    assert first["notice"] is None and first["trace"]["status"] == "complete"
    assert second["trace"]["status"] == "failed" and "did not reach its end" in second["notice"]
    assert [epoch["epoch"] for epoch in second["epochs"]] == [1]  # it stumbled while epoch 2 was ending
    assert second["steps"] == 2
    page = (failed.traced.out / "report.html").read_text("utf-8")
    assert "did not reach its end" in page


CHEAP = {
    "before any fit": "import sys\nprint('so far')\ndef f():\n    return 1 / 0\nf()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    [].pop()\n",
    "does not compile": "print('never'\n",
    "deep recursion": "def f(n):\n    return f(n + 1)\nf(0)\n",
    "exit with text": "import sys\nsys.exit('no data: café')\n",
    "exit with a number": "import sys\nsys.exit(7)\n",
    "exit with a negative number": "raise SystemExit(-1)\n",
    "hook of its own": "import sys\nsys.excepthook = lambda *a: print('mine', a[0], file=sys.stderr)\n1 / 0\n",
    "group": "raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])\n",
    "closed streams": "import sys\nsys.stdout.close()\n1 / 0\n",
}


@pytest.mark.parametrize("name", CHEAP)
def test_script_that_ends_before_any_fit_ends_as_in_python(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CHEAP[name], "utf-8")
    started = start("script.py", cwd=tmp_path), start_diagnose("run", "script.py", cwd=tmp_path)
    plain, traced = (process.done() for process in started)
    assert traced.code == plain.code != 0
    assert traced.stdout == plain.stdout
    depth = re.compile(r"repeated \d+ more")  # our own frames take a few of those that the script may use
    expected = plain.stderr + "diagnose: script.py ended before any fit could be traced.\n"
    assert depth.sub("", traced.stderr) == depth.sub("", expected)


@pytest.mark.parametrize("text", ["print('fine')\n", "raise SystemExit\n", "import sys\nsys.exit(0)\n"])
def test_script_without_fit(text: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(text)
    done = warm.diagnose("run", "script.py", cwd=tmp_path)
    assert (done.code, done.error) == (1, "script.py made no fit, so there is nothing to diagnose.")


# ── training that ends early ──


@pytest.fixture(scope="module")
def ended_within(scratch: Scratch) -> Traced:
    """`os._exit(5)` in the middle of training: nobody can report in that process any more."""
    cwd = scratch("ended_within")
    done = warm.diagnose("run", SCRIPTS / "interrupted.py", "--out", "out", "--", "exit", cwd=cwd)
    return Traced.of(done, cwd / "out")


def test_trace_of_a_process_that_vanished_can_be_reported(ended_within: Traced) -> None:
    assert (ended_within.done.code, ended_within.done.stdout) == (5, "well into training\n")
    reported = warm.diagnose("report", ended_within.out / "fit-1.diag", "--out", "out", cwd=ended_within.out.parent)
    assert reported.code == 0, reported.stderr
    (fit,) = fits(ended_within.out)
    assert fit["trace"]["status"] == "interrupted"
    assert 20 <= len(fit["epochs"]) <= 26 and fit["steps"] >= 2 * len(fit["epochs"])
    assert f"{len(fit['epochs'])} finished epochs, {fit['steps']} steps" in fit["notice"]


@pytest.fixture(scope="module")
def stopped_by_hand(scratch: Scratch) -> Traced:
    """Ctrl-C, sent once the script says that it trains."""
    cwd = scratch("stopped_by_hand")
    started = start_diagnose("run", SCRIPTS / "interrupted.py", "--out", "out", "--", "wait", cwd=cwd)
    assert started.process.stdout is not None
    try:
        assert started.process.stdout.readline() == "well into training\n"
        started.process.send_signal(signal.SIGINT)
        return Traced.of(started.done(), cwd / "out")
    finally:
        started.process.kill()


def test_ctrl_c_ends_with_130_and_a_report(stopped_by_hand: Traced) -> None:
    done = stopped_by_hand.done
    assert done.code == 130
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("KeyboardInterrupt\n")
    assert "/diagnose/" not in done.stderr and "never reached" not in done.stdout
    (fit,) = fits(stopped_by_hand.out)
    assert "did not reach its end" in fit["notice"] and len(fit["epochs"]) >= 25
    assert fit["replay"]["reproduced"] == fit["replay"]["steps"] > 0
    assert fit["notice"].split(".")[0] in " ".join(done.stdout.split())
