"""`Spread`: what a trace says of replicas, well formed or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.errors import ReplayError, TraceError
from diagnose.tracefile.model import BatchRef, Layout
from diagnose.tracefile.reader import read_trace
from diagnose.tracefile.replicas import Spread
from diagnose.tracefile.writer import TraceWriter

VARIABLE = {"path": "v", "dtype": "float32", "shape": []}
GOOD: dict[str, Any] = {
    "replicas": {"strategy": "MirroredStrategy", "count": 2, "local": 2},
    "variables": [
        {**VARIABLE, "group": "trainable"},
        {**VARIABLE, "group": "non_trainable"},
        {**VARIABLE, "group": "replica", "of": 1, "replica": 1},
    ],
}
Told = tuple[Spread | None, list[tuple[int, ...] | None]]


@pytest.fixture
def spread(tmp_path: Path) -> Callable[..., Told]:
    def write(info: dict[str, Any], *shares: Any) -> Told:
        """What is read of a header, and the shares of the steps written."""
        with TraceWriter(tmp_path / "a.diag") as writer:
            for key, value in info.items():
                writer.info(key, value)
            for number, rows in enumerate(shares):
                layout = Layout(shares=rows)
                writer.step(
                    step=number, epoch=1, batch_index=number,
                    batch=BatchRef(None, np.empty(0, np.int64), layout=layout), metrics_before=None,
                    metrics_after=None, generator=None, seconds=0.0,
                )  # fmt: skip
            writer.seal("complete")
        with read_trace(tmp_path / "a.diag") as trace:
            return Spread.of(trace), [step.batch.layout.shares for step in trace.steps]

    return write


def test_one_replica_is_no_spread(spread: Callable[..., Told]) -> None:
    assert spread({"variables": []})[0] is None


def test_shares_are_even_unless_said_otherwise(spread: Callable[..., Told]) -> None:
    found, shares = spread(GOOD, (4, 1), None)
    assert found is not None and found.copies == ((1, 1, 2),) and found.partial is None
    assert shares == [(4, 1), None]
    assert found.shares(5) == (3, 2) and found.shares(5, (4, 1)) == (4, 1)
    assert found.shares(6, (4, 1)) == (3, 3), "a split of another batch size"


def test_a_part_of_the_replicas_says_why_logged_values_are_out_of_reach(spread: Callable[..., Told]) -> None:
    found, _ = spread({**GOOD, "replicas": {"strategy": "S", "count": 4, "local": 2}})
    assert found is not None and found.partial is not None and "4 replicas" in found.partial and "of 2" in found.partial


@pytest.mark.parametrize(
    ("replicas", "copy", "rows"),
    [
        (7, {}, [1, 1]),
        ({"strategy": "S"}, {}, [1, 1]),
        ({"strategy": "S", "count": 2, "local": 3}, {}, [1, 1]),
        ({"strategy": "S", "count": 10**9, "local": 10**9}, {}, [1, 1]),
        (GOOD["replicas"], {"of": 2}, [1, 1]),
        (GOOD["replicas"], {"of": -1}, [1, 1]),
        (GOOD["replicas"], {"replica": 2}, [1, 1]),
        (GOOD["replicas"], {"replica": "one"}, [1, 1]),
        (GOOD["replicas"], {}, [1, 1, 1]),
        (GOOD["replicas"], {}, [3, -1]),
        (GOOD["replicas"], {}, ["many"]),
    ],
)
def test_nonsense_is_one_named_error(
    replicas: Any, copy: dict[str, Any], rows: Any, spread: Callable[..., Told]
) -> None:
    variables = [*GOOD["variables"][:2], {**GOOD["variables"][2], **copy}]
    with pytest.raises((TraceError, ReplayError), match=r"replicas|variables|layout"):
        spread({"replicas": replicas, "variables": variables}, rows)
