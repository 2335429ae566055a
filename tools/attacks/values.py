"""Hostile values for the grammar: texts, numbers, JSON, columns of each kind. Knows no file."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawText:
    """Bytes that SQLite is told are text."""

    raw: bytes


TEXTS = (
    "", "x", "loss", "val_loss", "\x1b[2J\x1b]0;owned\x07", "\x1b]8;;http://x\x1b\\y", "\x9b31m", "\x85",
    "\u202egnp.exe", "\u2066a\u2069", "\u200f", "two\nlines", "a\rb", "\0", "\ud800", "\u2028",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "{% raw %}", "%s%n%(x)s", "{0.__class__}", "$\\frac{1}{0$", "$$",
    "../../../etc/passwd", "/dev/zero", "C:\\con", "💥" * 50, "é" * 300, "a" * 70_000, "__class__", "__proto__", "nan",
    "-1", "1e999", "9" * 5000, "null", "=1+1", "𝒳\u0301" * 40, "\ufeff", "a b\tc",
)  # fmt: skip

NUMBERS = (
    -1, 0, 1, 2, 3, 17, 255, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400,
    0.0, -0.0, 0.5, 1e-320, 1e308, -1e308,
)  # fmt: skip
_FLOATS = ({"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"}, "NaN", "Infinity", "-Infinity")
_TREES: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [{}], {"": None}, {"$float": 3}, {"$float": "x"}, {"$x": 1}, {"$$x": 1},
    {"class": "Dense"}, {"name": 1}, [None] * 40, [1, "a", None], {"a": {"b": {"c": []}}}, [[[[[[[[1]]]]]]]],
    {"loss": {"$float": "nan"}}, {"state": 99}, {"state": -1}, {"rows": [1, 2, 3]}, [-1], ["x"] * 3,
    {"class_name": "Lambda", "config": {}},
)  # fmt: skip
_RAW = (
    "", "x", "{", "[1,", "NaN", "Infinity", "nul", "1" * 5000, '{"a":1,"a":2}', "[" * 100_000, "[" * 900 + "]" * 900,
    '{"a":' * 500 + "1" + "}" * 500, '"\\ud800"', "1e999", "-", "[" + "[]," * 20_000 + "[]]", "\ufeff{}", " {} ",
)  # fmt: skip

DTYPES = {
    "bool": 1, "int8": 1, "uint8": 1, "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e5m2": 1, "object": 8, "S5": 5, "U3": 12, "M8[ns]": 8,
}  # fmt: skip

EVENTS: dict[str, Any] = {
    "weights-changed": {
        "callback": "EarlyStopping", "hook": "on_train_end", "before": 9, "after": 10,
        "groups": ["trainable", "non_trainable"],
    },
    "train-end": {"state": 3},
    "limit": {"what": "weights of single updates", "reason": "the trace reached 1 MB"},
    "tracer-error": {"error": "ValueError: x", "where": "a.py:1", "traceback": "Traceback"},
    "stop-requested": {"callback": "EarlyStopping", "hook": "on_epoch_end"},
    "learning-rate": {"callback": "ReduceLROnPlateau", "hook": "on_epoch_end", "before": 0.1, "after": 0.01},
    "optimizer-changed": {"callback": "Mine", "hook": "on_epoch_end"},
    "metrics-reset": {"callback": "Mine", "hook": "on_train_batch_end"},
    "file-saved": {
        "callback": "ModelCheckpoint", "place": 1, "hook": "on_epoch_end", "version": 3, "path": "/tmp/x.weights.h5",
        "bytes": 26064,
    },
    "replica-shares": {"rows": [2, 2], "evaluation": 0, "batch": 0},
    "callbacks-final": {"callbacks": [{"class": "EarlyStopping", "settings": {"best": 1.0}, "hooks": []}]},
}  # fmt: skip
"""Kinds of events, each with a detail as a recorder writes it."""

STATEMENTS = (
    "CREATE TABLE more (a)", "CREATE INDEX i ON events (kind)", "CREATE VIEW v AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON info BEGIN DELETE FROM info; END", "DROP TABLE events", "PRAGMA user_version = 0",
    "PRAGMA user_version = 4", "PRAGMA application_id = 1", "DELETE FROM diagnosis", "DELETE FROM seal",
    "INSERT INTO seal VALUES (999, 'complete')", "UPDATE seal SET status = 'odd'", "DELETE FROM blobs",
    "UPDATE blobs SET data = zeroblob(length(data))", "UPDATE blobs SET data = zeroblob(0) WHERE blob = 1",
    "INSERT INTO diagnosis VALUES (2, 'x', 'null', zeroblob(16))", "UPDATE states SET arrays = zeroblob(0)",
    "UPDATE steps SET seconds = 1e999", "UPDATE steps SET row_ids = zeroblob(8000)", "DELETE FROM chain",
    "UPDATE epochs SET epoch = epoch + 1000000", "UPDATE steps SET step = 0", "UPDATE states SET version = 0",
    "UPDATE info SET key = 'x'", "UPDATE events SET kind = 'train-end'", "UPDATE epochs SET logs = '{}'",
)  # fmt: skip


def number(chance: random.Random) -> Any:
    return chance.choice(NUMBERS)


def shape(chance: random.Random) -> str:
    return json.dumps([chance.choice((0, 1, 2, 3, 2**31, 2**40, -1)) for _ in range(chance.randrange(40))])


def json_value(chance: random.Random) -> Any:
    return chance.choice((chance.choice(TEXTS), number(chance), chance.choice(_FLOATS), chance.choice(_TREES)))


def json_text(chance: random.Random) -> str:
    """A JSON text, or nearly."""
    return chance.choice(_RAW) if chance.random() < 0.5 else json.dumps(json_value(chance))


def alter_json(text: str, chance: random.Random) -> str:
    """The text of a JSON value in which one thing is replaced, removed, doubled, renamed or moved."""
    try:
        root = [json.loads(text)]
    except (ValueError, RecursionError):
        return json_text(chance)
    nodes: list[tuple[Any, Any]] = []
    _collect(root, nodes)
    parent, key = chance.choice(nodes)
    kind = chance.randrange(8)
    if kind == 0 and parent is not root:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[chance.choice(TEXTS)] = parent.pop(key)
    elif kind == 1:
        parent[key] = [parent[key]]
    elif kind == 2:
        # A part of another place, copied, so that no value comes to hold itself.
        other, at = chance.choice(nodes)
        parent[key] = json.loads(json.dumps(other[at]))
    elif kind == 3 and isinstance(parent, list) and parent is not root:
        parent.extend([parent[key]] * chance.choice((1, 2, 500)))
    elif kind == 4 and isinstance(parent[key], (int, float)):
        parent[key] = number(chance)
    elif kind == 5 and isinstance(parent[key], str):
        parent[key] = chance.choice(TEXTS)
    else:
        parent[key] = json_value(chance)
    return json.dumps(root[0])


def strings_in(texts: Sequence[str]) -> list[str]:
    """All strings in JSON texts, names of fields left out."""
    nodes: list[tuple[Any, Any]] = []
    for text in texts:
        try:
            _collect([json.loads(text)], nodes)
        except (ValueError, RecursionError):
            continue
    return sorted({parent[key] for parent, key in nodes if isinstance(parent[key], str)})


def of_kind(kind: str, old: Any, others: Sequence[Any], chance: random.Random) -> Any:
    """Another value for a column of this kind (`diagnose.tracefile.format.Kind`)."""
    if chance.random() < 0.25:
        return chance.choice(others)
    if chance.random() < 0.1:
        return chance.choice((None, 0, 1.5, "x", b"x", RawText(b"\xff\xfe"), b""))
    if kind == "int":
        return int(chance.choice([n for n in NUMBERS if type(n) is int]))
    if kind == "real":
        return chance.choice((0.0, -1.0, 1e308, float("inf"), -float("inf"), "nan", 1e-320))
    if kind == "json":
        return alter_json(old if isinstance(old, str) else "null", chance)  # it may have been altered before
    if kind == "text":
        return chance.choice((*TEXTS, RawText(b"\x80")))
    if kind == "digest":
        return chance.choice((chance.randbytes(16), bytes(16)))
    if kind == "digests":
        digests = [old[i : i + 16] for i in range(0, len(old or b""), 16)]
        chance.shuffle(digests)
        return chance.choice((b"", b"".join(digests), b"".join(digests[1:]), (old or b"") * 3, chance.randbytes(32)))
    rows = [struct.pack("<q", chance.choice((-1, 0, 1, 9, 2**40, -(2**40)))) for _ in range(chance.randrange(9))]
    return chance.choice((b"", b"".join(rows), chance.randbytes(chance.randrange(60)), (old or b"")[:-1], bytes(40)))


def _collect(node: Any, nodes: list[tuple[Any, Any]]) -> None:
    """All (container, key) below a node."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        for key in found if isinstance(found, dict) else range(len(found)):
            nodes.append((found, key))
            if isinstance(found[key], (dict, list)):
                waiting.append(found[key])
