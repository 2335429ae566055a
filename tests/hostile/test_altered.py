"""Every field of the header and of every event, altered one at a time: the trace is refused in one sentence that names
the place, or diagnosed, with no rule that crashes and no error of ours. `altered` says what is done to a field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diagnose.analysis.analyze import analyse
from diagnose.errors import TraceError
from diagnose.tracefile.about import Header
from diagnose.tracefile.events import KINDS
from diagnose.tracefile.reader import read_trace
from tests.hostile import forge, whole

DELETE: Any = object()
DEEP: Any = 0
for _ in range(70):
    DEEP = [DEEP]
OTHERS: dict[str, Any] = {
    "deleted": DELETE, "null": None, "text": "no", "number": -1, "true": True, "list": [3], "object": {"no": 1},
    "huge": 10**150, "not finite": {"$float": "nan"}, "deep": DEEP,
}  # fmt: skip
OPAQUE = ("settings", "config", "architecture", "logs", "next_logs")
"""What these hold may be anything: one of their values stands for all."""

MORE: dict[str, Any] = {
    "recording": {"id": "0" * 32}, "framework": "keras", "sources": {"loss": "train-steps", "val_loss": "validation"},
    "replicas": {"strategy": "MirroredStrategy", "count": 1, "local": 1}, "given": {"rows": "0" * 32},
}  # fmt: skip
EVENTS: dict[str, Any] = {
    "changes-left-out": {"callback": "Stop", "hook": "on_epoch_end"}, "tracing-stopped": {"reason": "the disk is full"},
    "limit": {"what": "steps", "reason": "the trace is full"}, "tracer-error": {"error": "E: e", "traceback": "at"},
    "replica-shares": {"rows": [8], "evaluation": 0, "batch": 0}, "metrics-reset": {"callback": "Stop", "hook": "h"},
    "optimizer-changed": {"callback": "Stop", "hook": "on_epoch_end"},
    "weights-kept": {"callback": "Stop", "hook": "h", "place": 0, "attribute": "best", "arrays": "self.best",
                     "trainable": "0" * 32},
    "outside-changed": {"of": "the loss", "name": "w", "before": 0.0, "after": 1.0, "plain": True},
    "file-replaced": {"path": "b.keras", "trace": "a.diag", "epoch": 1, "logs": {"val_loss": 0.5}},
    "trained-before": {"evaluation": 0, "rows": 3, "known": 8},
    "level": {"level": 2, "before": 3, "own": 0.001, "fit": 0.01, "overhead": 0.02},
}  # fmt: skip
"""What a fit seldom has, beside what `whole` writes."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.diag"
    whole.write(path)
    forge.add(path, "info", [[key, json.dumps(value)] for key, value in MORE.items()])
    forge.add(path, "events", [[kind, 1, 2, json.dumps(value)] for kind, value in EVENTS.items()])
    return path


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all fields; of a list, those in its first and its last entry."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        if isinstance(value, list) and key not in (0, len(value) - 1):
            continue
        if not any(name in OPAQUE for name in at[:-1]):
            yield from places(item, (*at, key))


def altered(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    """A copy of `value` with another value at a path, or without it."""
    if not at:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    if other is DELETE and len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = altered(copy[at[0]], at[1:], other)
    return copy


def cases(found: list[forge.Record]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Every row of the header, and one event of each kind, with the paths inside of it."""
    seen = set()
    for number, (table, columns) in enumerate(found):
        if table in ("info", "events") and (table, columns[0]) not in seen and columns[0] != "array_index":
            seen.add((table, columns[0]))
            value = json.loads(columns[-1])
            yield number, ()
            yield from ((number, at) for at in places(value))


@pytest.mark.slow
@pytest.mark.parametrize("way", OTHERS)
def test_every_altered_field_is_refused_by_name_or_diagnosed(way: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "altered.diag"
    found = forge.records(base)
    refused = read = 0
    for number, at in cases(found):
        table, columns = found[number]
        if way == "deleted" and not at:
            changed = [record for i, record in enumerate(found) if i != number]
        else:
            value = altered(json.loads(columns[-1]), at, OTHERS[way])
            changed = [*found]
            changed[number] = (table, [*columns[:-1], json.dumps(value)])
        path.write_bytes(base.read_bytes())
        forge.rewrite(path, changed)
        where = f"{columns[0]} {at}"
        try:
            with read_trace(path) as trace:
                diagnosis = analyse(trace)
        except TraceError as error:
            refused += 1
            assert "itself" not in str(error) and len(str(error)) < 1000, where
            continue
        except Exception as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        read += 1
        assert [f.title for f in diagnosis.findings if "error" in f.evidence] == [], where
        assert [p for p in diagnosis.problems if "in diagnose itself" in p] == [], where
    assert refused and read


def test_what_is_altered_is_all_there_is(base: Path) -> None:
    """The trace has every row of the header that has a type, and every kind of event."""
    found = forge.records(base)
    keys = {columns[0] for table, columns in found if table == "info"}
    kinds = {columns[0] for table, columns in found if table == "events"}
    assert set(Header.__struct_fields__) - keys <= {"redacted", "sample_weight"}
    assert set(KINDS) <= kinds
