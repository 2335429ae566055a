"""`diagnose report`: a saved trace, reported in another process, with the model, with a stored one, or with none."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import SCRIPTS, fits, start_diagnose, strict_json
from tests.cli.warm import diagnose, without_keras
from tests.conftest import Pair, Traced

Scratch = Callable[[str], Path]

MODEL = """
import keras

def build():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model

def uncompiled():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

def wrong():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    model.compile(optimizer="sgd", loss="mse")
    return model
"""


@pytest.fixture
def folder(two_fits: Pair, tmp_path: Path) -> Path:
    """A folder elsewhere with a trace that was made by a script."""
    shutil.copy(two_fits.traced.out / "fit-1.diag", tmp_path / "moved.diag")
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path


def test_the_block_blocks(folder: Path) -> None:
    done = without_keras("report", "moved.diag", "--model", "models:build", cwd=folder)
    assert done.code == 1 and "keras is blocked" in done.error


def test_stored_diagnosis_is_reported_without_keras(folder: Path, two_fits: Pair) -> None:
    done = without_keras("report", "moved.diag", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    out = folder / "reports" / "moved"
    assert {path.name for path in out.iterdir()} == {"report.html", "diagnosis.json", "timeline.png", "ledger.png"}
    assert fits(out) == fits(two_fits.traced.out)[:1]
    assert done.stdout.endswith("\nReport: reports/moved/report.html\n")


def test_json_is_all_of_standard_output(folder: Path) -> None:
    done = without_keras("report", "moved.diag", "--json", "--out", "out", cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    assert strict_json(done.stdout) == strict_json((folder / "out" / "diagnosis.json").read_text("utf-8"))


def test_an_earlier_report_is_replaced_only_by_force_or_by_the_same(folder: Path) -> None:
    out = folder / "out"
    for expected in ("out", "out"):
        done = without_keras("report", "moved.diag", "--out", "out", cwd=folder)
        assert (done.code, done.stderr) == (0, "")
        assert done.stdout.endswith(f"\nReport: {expected}/report.html\n")
    document = (out / "diagnosis.json").read_bytes()
    (out / "diagnosis.json").write_bytes(b"of another trace")
    done = without_keras("report", "moved.diag", "--out", "out", "--json", cwd=folder)
    assert done.code == 0 and strict_json(done.stdout) == strict_json(document.decode())
    assert done.error == ("out holds an earlier report, which stays (--force replaces it). This one is in out-1.")
    assert (out / "diagnosis.json").read_bytes() == b"of another trace"
    assert (folder / "out-1" / "diagnosis.json").read_bytes() == document
    assert without_keras("report", "moved.diag", "--out", "out", "--force", cwd=folder).code == 0
    assert (out / "diagnosis.json").read_bytes() == document
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith("out")) == ["out", "out-1"]


@pytest.mark.parametrize("how", [("--model", "models:build"), ("--stored-model",)], ids=lambda how: how[0])
def test_analysis_again_with_a_model_finds_the_same(how: tuple[str, ...], folder: Path, two_fits: Pair) -> None:
    done = diagnose("report", "moved.diag", *how, "--out", "out", cwd=folder)
    assert done.code == 0, done.stderr
    (first, _), (again,) = fits(two_fits.traced.out), fits(folder / "out")
    assert again["replay"]["reproduced"] == again["replay"]["steps"] == first["steps"]
    assert again["notice"] is None
    assert again["restoration"]["verdict"] == "shifted"
    assert again["restoration"]["owner_versions"] == first["restoration"]["owner_versions"]
    for here, there in zip(again["epochs"], first["epochs"], strict=True):
        assert here["reevaluated"] == pytest.approx(there["reevaluated"], rel=1e-6)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("models", "MODULE:FUNCTION"),
        ("none_such:build", "none_such"),
        ("models:none_such", "none_such"),
        ("models:uncompiled", "no compiled Keras model"),
    ],
)
def test_model_that_cannot_be_had(target: str, named: str, folder: Path) -> None:
    done = diagnose("report", "moved.diag", "--model", target, "--out", "out", cwd=folder)
    assert (done.code, done.stdout) == (1, "")
    assert named in done.error
    assert not (folder / "out").exists()


def test_model_of_another_shape_is_not_replayed_and_the_report_says_so(folder: Path, two_fits: Pair) -> None:
    done = diagnose("report", "moved.diag", "--model", "models:wrong", "--out", "out", cwd=folder)
    assert done.code == 0, done.stderr
    (fit,) = fits(folder / "out")
    assert "another architecture" in fit["notice"]
    assert fit["replay"] is None and fit["ledgers"] == []
    assert fit["restoration"]["verdict"] == "shifted" and fit["restoration"]["confirmed"] is None
    # The trace keeps the better diagnosis that it holds.
    assert without_keras("report", "moved.diag", "--out", "kept", cwd=folder).code == 0
    assert fits(folder / "kept") == fits(two_fits.traced.out)[:1]


# ── broken files ──


def altered(content: bytes) -> bytes:
    """The stored verdict, forged: same length, still a database, still JSON."""
    assert content.count(b'"shifted"') == 1
    return content.replace(b'"shifted"', b'"aligned"')


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cut.diag", lambda content: content[: len(content) // 2]),
        ("altered.diag", altered),
        ("empty.diag", lambda content: b""),
        ("text.diag", lambda content: b"not a trace\n" * 1000),
        ("database.diag", lambda content: content[:68] + b"\0\0\0\0" + content[72:]),  # application_id
    ],
)
def test_broken_trace_is_one_clear_error(
    name: str, change: Callable[[bytes], bytes], folder: Path, tmp_path: Path
) -> None:
    (folder / name).write_bytes(change((folder / "moved.diag").read_bytes()))
    done = without_keras("report", name, "--out", "out", cwd=folder)
    assert (done.code, done.stdout) == (1, "")
    assert name in done.error
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["missing.diag", ".", "no/such/folder.diag"])
def test_missing_trace_is_one_clear_error(name: str, folder: Path) -> None:
    done = without_keras("report", name, "--out", "out", cwd=folder)
    assert (done.code, done.stdout) == (1, "")
    assert name in done.error
    assert not (folder / "out").exists()


def test_folder_that_cannot_be_written(folder: Path) -> None:
    (folder / "taken").write_text("mine")
    done = without_keras("report", "moved.diag", "--out", "taken", cwd=folder)
    assert (done.code, done.stdout) == (1, "")
    assert "taken" in done.error and "--out" in done.error


def test_nobody_reading_the_summary_is_no_error(folder: Path) -> None:
    """The other end of a pipe is closed (`... | head -0`): the files are written, and nothing is complained about."""
    started = start_diagnose("report", "moved.diag", "--out", "piped", cwd=folder)
    assert started.process.stdout is not None and started.process.stderr is not None
    started.process.stdout.close()
    with started.process.stderr as stream:
        errors = stream.read()
    assert (started.process.wait(), errors) == (0, "")
    assert (folder / "piped" / "report.html").is_file()


# ── a process that was killed ──


@pytest.fixture(scope="module")
def killed(scratch: Scratch) -> Traced:
    """SIGKILL in training; then the report, without Keras, from the trace as the process left it."""
    cwd = scratch("killed")
    done = diagnose("run", SCRIPTS / "interrupted.py", "--out", "out", "--", "kill", cwd=cwd)
    assert (done.code, done.stdout) == (-signal.SIGKILL, "well into training\n")
    before = {path.name: path.read_bytes() for path in (cwd / "out").iterdir()}
    reported = without_keras("report", "out/fit-1.diag", "--out", "report", cwd=cwd)
    assert before == {path.name: path.read_bytes() for path in (cwd / "out").iterdir()}, "the user's file was changed"
    return Traced.of(reported, cwd / "report")


def test_killed_process_leaves_a_readable_trace(killed: Traced) -> None:
    assert (killed.done.code, killed.done.stderr) == (0, "")
    (fit,) = fits(killed.out)
    # It was killed at the end of epoch 26, each of two steps; the last quarter of a second may be lost.
    assert 10 <= len(fit["epochs"]) <= 26 and fit["steps"] <= 52
    assert fit["epochs"][-1]["last_version"] <= fit["steps"]


def test_report_says_first_that_the_recording_was_interrupted_and_how_far_it_goes(killed: Traced) -> None:
    (fit,) = fits(killed.out)
    reach = f"{len(fit['epochs'])} finished epochs, {fit['steps']} steps"
    assert "interrupted" in fit["notice"] and reach in fit["notice"]
    second_line = killed.done.stdout.strip().splitlines()[1]
    assert second_line.startswith("! The recording was interrupted")
    assert reach in " ".join(killed.done.stdout.split())
    page = (killed.out / "report.html").read_text("utf-8")
    body = page[page.index("<body") :]
    assert body.index("The recording was interrupted") < body.index("<h1")
