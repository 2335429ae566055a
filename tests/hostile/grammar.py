"""Forged traces by a grammar: the records of a whole trace (`whole`), changed where a header, an event, a log, a state
or a stored diagnosis holds something, with digests that fit. `Forge(folder).forge(rng)` writes one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from diagnose.result.codec import to_dict
from tests.hostile import forge as records
from tests.hostile import whole
from tests.report import examples

JSON_COLUMNS = {"info": 1, "signatures": 0, "evaluations": 4, "epochs": 3, "events": 3}
"""Table -> the column (without `seq`) that holds JSON."""
NUMBERS = {
    "states": (0, 1), "steps": (0, 1, 2, 3, 4, 6), "evaluations": (0, 1, 2), "epochs": (0, 1, 2, 4, 5, 6),
    "events": (1, 2), "row_blocks": (0, 1, 2, 4), "chain": (1,),
}  # fmt: skip
BYTES = {"states": (3, 5, 6, 7), "steps": (5, 7, 8, 11, 12, 13, 14), "batch_lists": (1,), "evaluations": (3,)}
TEXTS = {"info": (0,), "states": (2,), "events": (0,), "seal": (0,), "steps": (9,)}

ATOMS: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 99, 2**31, 2**53, 2**63 - 1, 10**150, 0.5, -1e-3, 1e308, -1e308, 5e-324,
    {"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"}, {"$no": 1}, "", "loss", "val_loss", "accuracy", "min",
    "NaN", "-Infinity", "float32", "bfloat16", "on_epoch_end", "on_train_end", "EarlyStopping", "{epoch:.2f}", "{0[",
    "\x1b[31m\x9b2J", "\u202eexe", "\ud800", "a\nb\tc", "<script>", "`", "```", "$\\frac{1}{0}$", "漢字" * 40,
    "e\u0301" * 300,
    [], {}, [[]], [{}], [None], {"": None}, [1], [1, 2, 3], ["loss"], {"loss": 0.5}, {"state": 99}, {"class": "Dense"},
]  # fmt: skip


def mutated(rng: Random, value: Any) -> Any:
    """`value` with one or a few places in it changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = _at_one_place(rng, value)
    return value


def _at_one_place(rng: Random, value: Any) -> Any:
    inside = isinstance(value, (dict, list)) and len(value) > 0
    if inside and rng.random() < 0.85:
        changed: Any = dict(value) if isinstance(value, dict) else list(value)
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        changed[key] = _at_one_place(rng, value[key])
        return changed
    return _other(rng, value)


def _other(rng: Random, value: Any) -> Any:
    """Something in the place of a value: of another type, nothing, more of it, out of range, nested."""
    way = rng.randrange(8)
    if isinstance(value, dict) and value and way < 4:
        key = rng.choice(list(value))
        if way == 0:
            return {k: v for k, v in value.items() if k != key}
        if way == 1:
            return {**value, "other": rng.choice(ATOMS)}
        if way == 2:
            return {k: rng.choice(ATOMS) for k in value}
        return {**value, key: value}
    if isinstance(value, list) and value and way < 4:
        return [value * 3, value[:-1], [*value, rng.choice(ATOMS)], [value]][way]
    if type(value) in (int, float) and way < 4:
        return [value + 1, -value, value * 1000, float(value)][way]
    if isinstance(value, str) and way < 2:
        return [value + rng.choice(["\x1b]0;x\x07", "\u202e", "x" * 5000]), value[:-1]][way]
    return rng.choice(ATOMS)


class Forge:
    """Writes forged traces into a folder, one at a time, over each other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "forged.diag"
        base = folder / "whole.diag"
        whole.write(base)
        self._base = base.read_bytes()
        self._records = records.records(base)
        self._diagnoses = [to_dict(make()) for make in examples.ALL.values()]

    def forge(self, rng: Random) -> Path:
        """One more forged trace, the same for the same state of `rng`."""
        found = [(table, list(columns)) for table, columns in self._records]
        for _ in range(rng.choice((1, 1, 2, 3))):
            self._change(rng, found)
        diagnosis = None
        if rng.random() < 0.4:
            value: Any = rng.choice(self._diagnoses)
            diagnosis = _text(mutated(rng, value))
        self.path.write_bytes(self._base)
        records.rewrite(self.path, found, diagnosis)
        return self.path

    def _change(self, rng: Random, found: list[records.Record]) -> None:
        way = rng.random()
        if way < 0.08:
            _structure(rng, found)
            return
        kinds = {table for table, _ in found}
        if way < 0.7:
            table = rng.choice(
                [t for t in ("info", "info", "info", "events", "epochs", "evaluations", "signatures") if t in kinds]
            )
            _, columns = rng.choice([record for record in found if record[0] == table])
            place = JSON_COLUMNS[table]
            columns[place] = _text(mutated(rng, json.loads(columns[place])))
            return
        columns_of = rng.choice((NUMBERS, NUMBERS, BYTES, TEXTS))
        table = rng.choice([t for t in columns_of if t in kinds])
        _, columns = rng.choice([record for record in found if record[0] == table])
        place = rng.choice(columns_of[table])
        if columns_of is NUMBERS:
            columns[place] = rng.choice(
                [None, 0, 1, -1, 3, 7, 12, 13, 99, 2**31, 2**53, 2**63 - 1, 0.5, "nan", "null", "7"]
            )
        elif columns_of is BYTES:
            data = columns[place] or b""
            columns[place] = rng.choice(
                [None, b"", data[:-16], data + data[:16], bytes(len(data)), b"\xff" * len(data), rng.randbytes(32)]
            )
        else:
            columns[place] = rng.choice(
                [*(c[place] for t, c in found if t == table), "", "final", "version", "\x1b[2J", "x" * 9000]
            )


def _structure(rng: Random, found: list[records.Record]) -> None:
    """A record left out, doubled, or in another place; the last two stay."""
    at = rng.randrange(len(found) - 2)
    way = rng.randrange(3)
    if way == 0 or found[at][0] == "chain":
        del found[at]
    elif way == 1:
        found.insert(at, (found[at][0], list(found[at][1])))
    else:
        found.insert(rng.randrange(len(found) - 2), found.pop(at))


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))  # with `NaN`, which is no JSON, now and then
