"""Child processes never write into the trace of their parent, however they are made and however they end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnose import read_trace
from tests.cli.command import BACKEND, Done, Started, start, start_diagnose

SCRIPTS = Path(__file__).with_name("scripts")
METHODS = ("fork", "spawn", "on", "exit")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Done, Path]]:
    """Each way to make a child, under `diagnose run`; started together."""
    cwd = tmp_path_factory.mktemp("children")
    started: dict[str, Started] = {
        method: start_diagnose(
            "run", SCRIPTS / "children.py", "--out", method, "--", method, cwd=cwd, KERAS_BACKEND=BACKEND
        )
        for method in METHODS
    }
    finished: dict[str, Done] = {}

    def get(method: str) -> tuple[Done, Path]:
        if method not in finished:
            finished[method] = started[method].done()
        return finished[method], cwd / method

    return get


def printed(done: Done) -> dict[str, object]:
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("[\""))


def losses(path: Path) -> list[float]:
    with read_trace(path) as trace:
        assert trace.sealed and trace.status == "complete"
        assert len(trace.steps) == 9
        return [epoch.logs["loss"] for epoch in trace.epochs]


@pytest.mark.parametrize("method", METHODS)
def test_trace_is_the_parents(method: str, done: Callable[[str], tuple[Done, Path]]) -> None:
    result, out = done(method)
    assert result.code == 0, result.stderr
    said = printed(result)
    assert sorted(said) == (["exit", "parent"] if method == "exit" else ["child", "parent"])
    assert said["parent"] != said.get("child")
    assert sorted(p.name for p in out.glob("*.diag*")) == ["fit-1.diag"]
    assert losses(out / "fit-1.diag") == said["parent"]
    if method == "exit":
        assert said["exit"] == 5
    assert result.stdout.count("Report: ") == 1


def test_tracer_of_the_parent_in_a_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    result = start(SCRIPTS / "own_tracer.py", "own.diag", cwd=tmp_path, KERAS_BACKEND=BACKEND).done()
    assert result.code == 0, result.stderr
    said = printed(result)
    (childs,) = tmp_path.glob("own-pid*.diag")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["own.diag", childs.name])
    assert (losses(tmp_path / "own.diag"), losses(childs)) == (said["parent"], said["child"])
    assert said["parent"] != said["child"]
