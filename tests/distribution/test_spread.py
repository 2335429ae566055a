"""`Spread`: what a trace says of replicas, well formed or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from diagnose.errors import ReplayError
from diagnose.tracefile.replicas import Spread

GOOD: dict[str, Any] = {
    "replicas": {"strategy": "MirroredStrategy", "count": 2, "local": 2},
    "variables": [{"group": "trainable"}, {"group": "non_trainable"}, {"group": "replica", "of": 1, "replica": 1}],
}


def spread(info: dict[str, Any], *details: tuple[int | None, dict[str, Any]]) -> Spread | None:
    events = [SimpleNamespace(kind="replica-shares", step=step, detail=detail) for step, detail in details]
    trace: Any = SimpleNamespace(info=info, events=events)
    return Spread.of(trace)


def test_one_replica_is_no_spread() -> None:
    assert spread({"variables": []}) is None


def test_shares_are_even_unless_said_otherwise() -> None:
    found = spread(GOOD, (3, {"rows": [4, 1]}), (4, {"rows": [1, 2], "evaluation": 0, "batch": 5}))
    assert found is not None and found.copies == ((1, 1, 2),) and found.partial is None
    assert found.steps == {3: (4, 1)} and found.evaluations == {(0, 5): (1, 2)}
    assert found.shares(5) == (3, 2) and found.shares(5, (4, 1)) == (4, 1)
    assert found.shares(6, (4, 1)) == (3, 3), "a split of another batch size"


def test_a_part_of_the_replicas_says_why_logged_values_are_out_of_reach() -> None:
    found = spread({**GOOD, "replicas": {"strategy": "S", "count": 4, "local": 2}})
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
        (GOOD["replicas"], {}, None),
    ],
)
def test_nonsense_is_one_named_error(replicas: Any, copy: dict[str, Any], rows: Any) -> None:
    variables = [*GOOD["variables"][:2], {**GOOD["variables"][2], **copy}]
    with pytest.raises(ReplayError, match="spread over replicas"):
        spread({"replicas": replicas, "variables": variables}, (0, {"rows": rows}))
