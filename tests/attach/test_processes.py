"""Child processes never write into the trace of their parent, however they are made and however they end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from diagnose import read_trace
from tests.cli.command import BACKEND, Done, start, start_diagnose

SCRIPTS = Path(__file__).with_name("scripts")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def printed(done: Done) -> dict[str, object]:
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith('["'))


def losses(path: Path) -> list[float]:
    with read_trace(path) as trace:
        assert trace.sealed and trace.status == "complete"
        assert len(trace.steps) == 9
        return [epoch.logs["loss"] for epoch in trace.epochs]


def traced(method: str, cwd: Path) -> tuple[Done, dict[str, object]]:
    result = start_diagnose(
        "run", SCRIPTS / "children.py", "--out", "out", "--", method, cwd=cwd, KERAS_BACKEND=BACKEND
    ).done()
    assert result.code == 0, result.stderr
    assert result.stdout.count("Report: ") == 1
    assert sorted(p.name for p in (cwd / "out").glob("*.diag*")) == ["fit-1.diag"]
    return result, printed(result)


def test_trace_is_the_parents_however_children_are_made(tmp_path: Path) -> None:
    _, said = traced("all", tmp_path)
    assert sorted(said) == ["fork", "forked", "parent", "spawn"]
    assert len({str(losses) for losses in said.values()}) == 4
    assert losses(tmp_path / "out" / "fit-1.diag") == said["parent"]


@pytest.mark.skipif(BACKEND != "torch", reason="it hangs under TensorFlow and crashes under JAX, traced or not")
def test_child_that_ends_within_a_traced_fit_leaves_its_trace_alone(tmp_path: Path) -> None:
    _, said = traced("exit", tmp_path)
    assert said["exit"] == 5
    assert losses(tmp_path / "out" / "fit-1.diag") == said["parent"]


def test_tracer_of_the_parent_in_a_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    result = start(SCRIPTS / "own_tracer.py", "own.diag", cwd=tmp_path, KERAS_BACKEND=BACKEND).done()
    assert result.code == 0, result.stderr
    said = printed(result)
    (childs,) = tmp_path.glob("own-pid*.diag")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["own.diag", childs.name])
    assert (losses(tmp_path / "own.diag"), losses(childs)) == (said["parent"], said["child"])
    assert said["parent"] != said["child"]
