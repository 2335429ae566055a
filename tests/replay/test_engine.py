"""The core of replay with an engine that is no framework: a linear model in NumPy. The oracle is a plain loop."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from diagnose import Diagnosis, read_trace
from diagnose.analysis.analyze import analyse
from tests.replay.plain_engine import RATES, ROWS, START, LinearFactory, data, record

SCHEDULES = ("before", "after", "epoch-end", "final")
LEVELS = ("weights-lag", "weights-drift", "restored-weights")
CLOSE = 1e-12


def train(batch: int) -> dict[int, dict[tuple[str, bool], float]]:
    """Of each epoch, the loss over its rows by schedule, and whether inputs are halved. Row by row, without NumPy's
    algebra."""
    x, y = data()

    def loss(w: list[float], rows: range, halved: bool) -> list[float]:
        scale = 0.5 if halved else 1.0
        return [(sum(scale * a * b for a, b in zip(x[i], w, strict=True)) - y[i, 0]) ** 2 for i in rows]

    def step(w: list[float], rows: range, rate: float) -> list[float]:
        wrong = [sum(a * b / 2 for a, b in zip(x[i], w, strict=True)) - y[i, 0] for i in rows]
        slopes = [sum(2 * e * x[i, k] / 2 for e, i in zip(wrong, rows, strict=True)) / len(rows) for k in range(3)]
        return [b - rate * s for b, s in zip(w, slopes, strict=True)]

    parts = [range(start, start + batch) for start in range(0, ROWS, batch)]
    w = [float(v) for v in START[:, 0]]
    used, ends = [], []
    for rate in RATES:
        versions = [w]
        for rows in parts:
            versions.append(step(versions[-1], rows, rate))
        used.append(versions)
        w = versions[-1]
        ends.append(w)
    logged = [np.mean([v for w, rows in zip(u, parts, strict=False) for v in loss(w, rows, True)]) for u in used]
    final = ends[int(np.argmin(logged))]
    found: dict[int, dict[tuple[str, bool], float]] = {}
    for epoch, versions in enumerate(used, 1):
        n = len(parts)
        weights = (versions[:n], versions[1:], [versions[-1]] * n, [final] * n)
        found[epoch] = {
            (schedule, halved): float(np.mean([v for w, p in zip(own, parts, strict=True) for v in loss(w, p, halved)]))
            for schedule, own in zip(SCHEDULES, weights, strict=True)
            for halved in (True, False)
        }
    return found


def shares(values: Mapping[tuple[str, bool], float]) -> dict[str, float]:
    """Mean amounts over the orders of a walk in which schedules keep theirs. A schedule that changes no weights has no
    part in it."""
    steps = zip(LEVELS, itertools.pairwise(SCHEDULES), strict=True)
    levels = [(factor, to) for factor, (here, to) in steps if values[here, True] != values[to, True]]
    amounts: dict[str, list[float]] = {}
    for place in range(len(levels) + 1):
        schedule, halved = "before", True
        for factor, to in [*levels[:place], ("dropout", None), *levels[place:]]:
            before = values[schedule, halved]
            schedule, halved = (schedule, False) if to is None else (to, halved)
            amounts.setdefault(factor, []).append(values[schedule, halved] - before)
    return {factor: float(np.mean(each)) for factor, each in amounts.items()}


def diagnosed(path: Path, batch: int, *, every_update: bool = True) -> Diagnosis:
    record(path, batch=batch, every_update=every_update)
    with read_trace(path) as trace:
        return analyse(trace, factory=LinearFactory(), epochs="all")


@pytest.mark.parametrize("batch", [ROWS, 2])
@pytest.mark.parametrize("every_update", [True, False], ids=["all kept", "made again"])
def test_the_ledger_of_a_loop_without_a_framework(batch: int, every_update: bool, tmp_path: Path) -> None:
    diagnosis, expected = diagnosed(tmp_path / "loop.diag", batch, every_update=every_update), train(batch)
    assert diagnosis.problems == ()
    assert diagnosis.replay is not None
    assert diagnosis.replay.steps == diagnosis.replay.reproduced == len(RATES) * ROWS // batch
    assert [ledger.epoch for ledger in diagnosis.ledgers] == list(expected)
    for ledger in diagnosis.ledgers:
        values = expected[ledger.epoch]
        assert ledger.logged == pytest.approx(values["before", True], rel=CLOSE)
        assert ledger.evaluated == pytest.approx(values["final", False], rel=CLOSE)
        found = {entry.factor: entry.amount for entry in ledger.entries}
        assert found == pytest.approx(shares(values), rel=1e-9, abs=1e-12)
        assert ledger.residual == pytest.approx(0.0, abs=1e-12)
    again = [row.reevaluated["loss"] for row in diagnosis.epoch_rows]
    assert again == pytest.approx([expected[e]["epoch-end", False] for e in expected], rel=CLOSE)


@pytest.mark.parametrize(("batch", "verdict"), [(ROWS, "shifted"), (2, "no-owner")])
def test_the_verdict_of_a_loop_without_a_framework(batch: int, verdict: str, tmp_path: Path) -> None:
    restoration = diagnosed(tmp_path / "loop.diag", batch).restoration
    logged = [values["before", True] for values in train(batch).values()]
    best = 1 + int(np.argmin(logged))
    assert restoration is not None and restoration.verdict == verdict
    assert 1 < best < len(RATES)
    assert (restoration.best_epoch, restoration.restored_version) == (best, best * ROWS // batch)
    if verdict == "shifted":
        assert (restoration.owner_versions, restoration.shift_updates) == ((best - 1,), 1)


def test_no_framework_is_loaded(tmp_path: Path) -> None:
    code = f"""
import json, sys
from pathlib import Path
from tests.replay.plain_engine import LinearFactory, record
from diagnose import read_trace
from diagnose.analysis.analyze import analyse
record(Path({str(tmp_path / "loop.diag")!r}), batch=2)
with read_trace(Path({str(tmp_path / "loop.diag")!r})) as trace:
    found = analyse(trace, factory=LinearFactory())
loaded = [name for name in ("keras", "tensorflow", "jax", "torch") if name in sys.modules]
print(json.dumps([loaded, found.restoration.verdict, [entry.factor for entry in found.ledgers[-1].entries]]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120
    )
    assert run.returncode == 0, run.stderr
    loaded, verdict, factors = json.loads(run.stdout.splitlines()[-1])
    assert loaded == []
    assert verdict == "no-owner"
    assert set(factors) == {"weights-lag", "weights-drift", "restored-weights", "dropout"}
