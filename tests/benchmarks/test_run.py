"""The benchmarks: what `run.py` asks for is measured, and its table says what the readings say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import commands, run
from benchmarks.measures import MEASURES, start
from benchmarks.turns import PAIRS


def readings(cpu: list[float], wall: list[float]) -> list[dict[str, float]]:
    return [
        {"cpu": c, "wall": w, "steady_cpu": 0.5 * c, "steady_wall": 0.5 * w} for c, w in zip(cpu, wall, strict=True)
    ]


def document(rows: list[dict[str, Any]]) -> dict[str, Any]:
    one = {"backend": "jax", "measure": "fits", "rows": rows, "error": None, "seconds": 1.0}
    return {
        "schema": 1,
        "made": {"date": "2026-03-01T10:00:00+00:00", "command": "", "commit": "abc", "quick": False, "seconds": 1},
        "machine": {"processor": "Some CPU", "cores": 2, "memory": 8 << 30, "system": "Linux 6"},
        "load": {"before": [0.1, 0.2, 0.3], "after": [1.9, 1.0, 0.5]},
        "runs": [
            {**one, "load": {"before": [0.1, 0, 0], "after": [2.5, 0, 0]}, "versions": {"keras": "3.15.1", "jax": "1"}},
            {"backend": "torch", "missing": "No module named 'torch'"},
            {"backend": "jax", "measure": "memory", "rows": [], "error": "its process ended with -9"},
        ],
    }


def test_the_table_has_medians_and_ranges_of_the_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    untraced, traced = rng.uniform(1, 2, 7), rng.uniform(2, 3, 7)
    row = {
        "model": "tiny MLP", "parameters": 9, "level": "auto", "epochs": 6, "steps": 100, "bytes": 1_200_000,
        "untraced": readings(list(untraced), list(2 * untraced)), "traced": readings(list(traced), list(traced)),
    }  # fmt: skip
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(document([row])))
    assert run.main(["--table", str(file)]) == 0
    drawn = capsys.readouterr().out
    cells = [c.strip() for c in next(x for x in drawn.splitlines() if x.startswith("| tiny MLP")).split("|")[1:-1]]

    def spread(values: Any, digits: int) -> str:
        return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"

    own = (traced - untraced) / 2 / 400  # of 6 epochs, the last 4 are steady
    once = np.median(traced - untraced) - np.median(own) * 600
    assert cells == [
        "tiny MLP",
        "jax",
        "auto",
        f"{np.median(2 * untraced) / 600 * 1e3:.2f} ms",
        spread(traced / untraced, 2),
        spread(traced / (2 * untraced), 2),
        spread(traced / untraced, 3),
        f"{np.median(own) * 1e6:,.0f} ({own.min() * 1e6:,.0f} to {own.max() * 1e6:,.0f}) µs",
        f"{once * 1e3:.0f} ms",
        "2.0 kB",
    ]
    for said in ("2026-03-01", "Some CPU, 2 cores, 8 GiB", "0.1 before, 1.9 after, 2.5 at most", "keras 3.15.1, jax 1"):
        assert said in drawn
    assert "torch: not installed (No module named 'torch')" in drawn
    assert "Failed: jax: its process ended with -9" in drawn
    assert run.main(["--table", str(file), "--levels", "0"]) == 0
    assert "| tiny MLP" not in capsys.readouterr().out


def test_a_backend_that_is_not_installed_is_told(tmp_path: Path) -> None:
    missing = [name for name in run.BACKENDS if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("all backends are installed here")
    file = tmp_path / "costs.json"
    assert run.main(["--only", "fits,memory,report", "--backend", missing[0], "--json", str(file)]) == 0
    runs = json.loads(file.read_text())["runs"]
    assert runs == [{"backend": missing[0], "missing": f"No module named '{missing[0]}'"}]


def test_what_is_measured_is_written(tmp_path: Path) -> None:
    """Of starting, which is quick: a reading of each process and round."""
    file = tmp_path / "costs.json"
    assert run.main(["--only", "start", "--quick", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    (found,) = written["runs"]
    assert found["error"] is None and written["made"]["quick"]
    assert [row["way"] for row in found["rows"]] == list(start.WAYS)
    for row in found["rows"]:
        assert len(row["readings"]) == len(row["nothing"]) == PAIRS
        assert all(x["cpu"] > 0 and x["wall"] > 0 for x in row["readings"])


def test_what_a_command_took_is_its_own(tmp_path: Path) -> None:
    """Not that of the process which measures, and holds a backend."""
    much = np.ones(300 << 20, "uint8")
    light, heavy = (commands.run(["-c", f"print(len(b'x' * {n}))"], tmp_path) for n in (1, 100 << 20))
    assert light["memory"] < 50 << 20 < 100 << 20 < heavy["memory"] < much.nbytes
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1: .*ZeroDivisionError"):
        commands.run(["-c", "1 / 0"], tmp_path)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_without_rows_draws_an_empty_table(name: str) -> None:
    head, line = MEASURES[name].load().table([])
    assert head.count("|") == line.count("|") > 3
