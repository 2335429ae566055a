"""`diagnose run -m`, and runs of many fits: one of them only, a limit for all together, a summary that stays short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diagnose import read_trace
from tests.cli.command import BACKEND, Done, fits, start, start_diagnose
from tests.cli.warm import diagnose

SCRIPTS = Path(__file__).with_name("scripts")
MODULE = "pack.inner.search"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, Path]]:
    folder = tmp_path_factory.mktemp("runs")
    words = ("many", "-m", "--only-fit")
    many = ("run", "-m", MODULE, "--out", folder / "many", "--", *words)
    traced = start_diagnose(*many, cwd=SCRIPTS, KERAS_BACKEND=BACKEND)
    plain = start("-m", MODULE, *words, cwd=SCRIPTS, KERAS_BACKEND=BACKEND)
    found = {"many": (traced.done(), folder / "many"), "plain": (plain.done(), folder)}
    for name, options in (
        ("third", ("--only-fit", "3", "--max-bytes", "1MiB", "--json", "--", "wide")),
        ("fourth", ("--only-fit", "4", "--")),
    ):
        done = diagnose("run", "-m", MODULE, "--out", folder / name, *options, cwd=SCRIPTS)
        found[name] = done, folder / name
    return found


def losses(done: Done) -> list[list[float]]:
    lines = (done.stdout + done.stderr).splitlines()
    return [json.loads(line.removeprefix("losses ")) for line in lines if line.startswith("losses ")]


def test_module_sees_and_prints_the_same_as_with_python(runs: dict[str, tuple[Done, Path]]) -> None:
    plain, traced = runs["plain"][0], runs["many"][0]
    assert plain.code == traced.code == 0, traced.stderr
    assert '"pack.inner"' in plain.stdout and "main True True" in plain.stdout and '"-m"]' in plain.stdout
    assert traced.stdout.startswith(plain.stdout)
    assert traced.stderr == plain.stderr


def test_of_many_fits_the_first_have_a_summary_and_the_others_a_line(runs: dict[str, tuple[Done, Path]]) -> None:
    done, out = runs["many"]
    own = losses(done)
    assert len(own) == 6
    assert [[e["logged"]["loss"] for e in fit["epochs"]] for fit in fits(out)] == own
    printed = done.stdout.split("\n\n")
    assert [block.split(" | ")[:2] for block in printed[1:6]] == [[MODULE, f"fit {n}"] for n in range(1, 6)]
    lines = printed[6].splitlines()
    assert [line.split(" | ")[0] for line in lines] == [f"fit {n}" for n in range(6, 7)]
    assert all(len(line) <= 100 for line in lines)
    assert (out / "report.html").stat().st_size < 6 * 100_000


def test_only_one_fit(runs: dict[str, tuple[Done, Path]]) -> None:
    done, out = runs["third"]
    assert done.code == 0, done.stderr
    assert [p.name for p in out.glob("*.diag")] == ["fit-3.diag"]
    (fit,) = fits(out)
    assert fit["fit"] == 3 and [e["logged"]["loss"] for e in fit["epochs"]] == losses(done)[2]


def test_the_one_fit_is_not_there(runs: dict[str, tuple[Done, Path]]) -> None:
    done, _ = runs["fourth"]
    assert done.code == 1 and done.error == f"There is no fit 4: {MODULE} made 3."


def test_limit_for_all_fits_together(runs: dict[str, tuple[Done, Path]]) -> None:
    _, out = runs["third"]
    with read_trace(out / "fit-3.diag") as trace:
        (reason,) = {e.detail.reason for e in trace.events if e.kind == "limit"}
        assert reason == "all fits of this run together may take 1 MiB"
        kept = [trace.index.kept(s) is not None for s in trace.states if s.label == "version"]
        assert kept.count(True) < len(kept) and all(trace.index.kept(trace.states[e.state]) for e in trace.epochs)
        assert len(trace.epochs) == 3
    assert "All fits of this run together may take 1 MiB" in (out / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("-m", "pack"), 4, "main of the package pack ['a']"),
        (("-m", "pack.inner"), 1, "'pack.inner' is a package without a __main__"),
        (("-m", "pack.settings.deep"), 1, "There is no module 'pack.settings.deep'"),
        (("-m", "none.such"), 1, "There is no module 'none.such'"),
        (("-m", "pack.py"), 1, "There is no module 'pack.py'"),
        (("-m", "pack", "script.py"), 2, "not allowed with"),
        ((), 2, "required"),
        (("-m", "pack", "--only-fit", "0"), 2, "counted from 1"),
        (("-m", "pack", "--max-bytes", "much"), 2, "not a size such as"),
        (("-m", "pack", "--max-bytes", "1MB"), 2, "at least 1 MiB"),
    ],
)
def test_modules_that_cannot_be_run(words: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    done = diagnose("run", *words, "--out", tmp_path / "out", "--", "a", cwd=SCRIPTS)
    assert done.code == code and text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.html").exists()
