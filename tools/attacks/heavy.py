"""Files of up to 10 MB that take as much time and memory to read as we know how to make them take."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.attacks import grammar, pages
from tools.attacks.grammar import Tables

BYTES = 8_500_000
"""What is put into a trace, whose own pages take another megabyte."""


def traces(honest: Path) -> list[str]:
    """The names of all heavy traces."""
    stored = json.loads(grammar.take_apart(honest).diagnosis[2])
    lists = [f"diagnosis: many {key}" for key, value in stored.items() if isinstance(value, list) and value]
    return [*_TRACES, *lists, *(f"page loop in {table}" for table in pages.TABLES)]


def trace(honest: Path, name: str) -> bytes:
    """The content of one of them."""
    if name.startswith("page loop"):
        return pages.looped(honest.read_bytes(), name.rpartition(" ")[2])
    tables = grammar.take_apart(honest).copy()
    if name.startswith("diagnosis: many "):
        _many_stored(tables, name.rpartition(" ")[2])
    else:
        if not name.startswith("diagnosis"):
            tables.diagnosis[2] = "null"
        _TRACES[name](tables)
    return grammar.put_together(tables)


def _many_stored(tables: Tables, key: str) -> None:
    stored = json.loads(tables.diagnosis[2])
    size = len(json.dumps(stored[key]))
    stored[key] = stored[key] * ((BYTES - len(tables.diagnosis[2])) // size)
    tables.diagnosis[2] = json.dumps(stored)


def _stored(name: str, value: Any) -> Callable[[Tables], None]:
    def apply(tables: Tables) -> None:
        stored = json.loads(tables.diagnosis[2])
        stored[name] = value
        tables.diagnosis[2] = json.dumps(stored)

    return apply


def _stored_names(tables: Tables) -> None:
    """A name of half a megabyte wherever the diagnosis has a short one."""
    tables.diagnosis[2] = tables.diagnosis[2].replace('"accuracy"', json.dumps("n" * 200_000))


def _rows(table: str, size: int, change: Callable[[int, list[Any]], None] = lambda i, row: None) -> Callable[..., None]:
    """Repeats the table's last row, about `size` bytes each, as often as fits."""

    def apply(tables: Tables) -> None:
        place = tables.of(table)[-1]
        row = tables.chained[place][1]
        more = []
        for i in range(1, BYTES // size):
            copy = list(row)
            change(i, copy)
            more.append((table, copy))
        tables.chained[place + 1 : place + 1] = more

    return apply


def _header(key: str, make: Callable[[Any], Any]) -> Callable[[Tables], None]:
    """Puts another value into each header row of this name; a new row where there is none."""

    def apply(tables: Tables) -> None:
        found = [i for i in tables.of("info") if tables.chained[i][1][0] == key]
        if not found:
            return tables.chained.insert(0, ("info", [key, _text(make(None))]))
        for place in found:
            tables.chained[place][1][1] = '""'
        row = tables.chained[found[-1]][1]
        row[1] = _text(make(json.loads(_honest(tables, row[0]))))

    return apply


def _honest(tables: Tables, key: str) -> str:
    """The header's last value of this name, as it was."""
    return str([row[2] for row in tables.honest["info"] if row[1] == key][-1])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _fill(part: str, size: int = BYTES) -> str:
    """A JSON list of one text again and again."""
    return "[" + (part + ",") * (size // (len(part) + 1)) + part + "]"


def _many(key: str) -> Callable[[Any], Any]:
    """In the value of `key` in an object, its first entry again and again."""

    def make(value: Any) -> Any:
        one = _text(value[key][1])
        value[key] = "@"
        return _text(value).replace('"@"', _fill(one))

    return make


def _in_epochs(text: str) -> Callable[[Tables], None]:
    def apply(tables: Tables) -> None:
        for place in tables.of("epochs"):
            tables.chained[place][1][3] = text

    return apply


def _empty_arrays(tables: Tables) -> None:
    first = len(tables.arrays) + 1
    tables.arrays += [[i, struct.pack(">QQ", 7, i), "float32", "[0]", 0, None] for i in range(first, first + 120_000)]


def _event(kind: str, detail: Any) -> Callable[[Tables], None]:
    text = json.dumps(detail)

    def apply(tables: Tables) -> None:
        count = BYTES // (len(text) + 45)
        # Before the last digest, where the grammar puts no seal out of order.
        place = tables.of("events")[-1]
        tables.chained[place:place] = [("events", [kind, 1, 3, text])] * count

    return apply


def _step(i: int, row: list[Any]) -> None:
    row[11], row[12], row[13] = bytes(row[3]), b"", b""  # the metrics' variables are larger than all else
    row[0] += i * row[3]


def _epoch(i: int, row: list[Any]) -> None:
    row[0] += i


_TRACES: dict[str, Callable[[Tables], None]] = {
    "many epochs": _rows("epochs", 300, _epoch),
    "many steps": _rows("steps", 170, _step),
    "many states": _rows("states", 900),
    "many evaluations": _rows("evaluations", 230),
    "many signatures": _rows("signatures", 150),
    "many learning rates": _event("learning-rate", {"callback": "R", "hook": "on_epoch_end", "before": 1, "after": 2}),
    "many changed weights": _event(
        "weights-changed", {"callback": "E", "hook": "on_epoch_end", "before": 9, "after": 10, "groups": ["trainable"]}
    ),
    "many files": _event(
        "file-saved", {"callback": "M", "place": 1, "hook": "on_epoch_end", "version": 3, "path": "a", "bytes": 9}
    ),
    "many ends": _event("train-end", {"state": 13}),
    "many layers": _header("model", _many("layers")),
    "many variables": _header("variables", lambda value: _fill(_text(value[0]))),
    "many callbacks": _header("callbacks", lambda value: _fill(_text(value[0]))),
    "many callbacks at start": _header("callbacks_at_start", lambda value: _fill(_text(value[0]))),
    "many metrics": _header("metrics", lambda value: _fill(_text(value[0]))),
    "many metric variables": _header("metric_variables", lambda value: _fill(_text(value[0]))),
    "many slots": _header("optimizer_variables", lambda value: _fill(_text(value[2]))),
    "long names": _header("metrics", lambda value: _fill(json.dumps({**value[0], "name": "n" * 1_000_000}))),
    "long names of layers": _header(
        "model", lambda value: {**value, "layers": [{**layer, "name": "n" * 10**6} for layer in value["layers"]]}
    ),
    "long names of callbacks": _header("callbacks", lambda value: [{**x, "class": "C" * 10**6} for x in value]),
    "header of empty lists": _header("fit", lambda value: _fill("[]")),
    "header of empty objects": _header("model", lambda value: _fill("{}")),
    "unknown header of empty lists": _header("unknown", lambda value: _fill("[]")),
    "header of deep lists": _header("fit", lambda value: _fill("[" * 60 + "]" * 60)),
    "logs of many metrics": _in_epochs(json.dumps({f"val_m{i}": 0.5 for i in range(100_000)})),
    "logs of long names": _in_epochs(json.dumps({"n" * 2_000_000: 0.5, "val_" + "n" * 900_000: 1.0})),
    "many empty arrays": _empty_arrays,
    "diagnosis: empty lists": lambda tables: tables.diagnosis.__setitem__(2, _fill("[]")),
    "diagnosis: a headline of 8 MB": _stored("headline", "word " * 1_700_000),
    "diagnosis: long names": _stored_names,
    "diagnosis: empty objects as epochs": _stored("epochs", [{}] * 2_000_000),
}  # fmt: skip


# ── files of weights: makers of (folder) → path ──


def _npz_of_empty(folder: Path) -> Path:
    stream = io.BytesIO()
    np.save(stream, np.empty(0, "float32"))
    return _zip(folder / "a.npz", [(f"layers/dense_{i}/vars/0.npy", stream.getvalue()) for i in range(30_000)])


def _hdf5_of_empty(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.weights.h5", "w", libver="latest") as file:
        for i in range(15_000):
            file.create_dataset(f"layers/dense_{i}/vars/0", shape=(0,), dtype="f4")
    return folder / "a.weights.h5"


def _safetensors_of_empty(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    head = json.dumps({f"layers/dense_{i}/vars/0": entry for i in range(90_000)}).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    return folder / "a.safetensors"


def _digits(folder: Path) -> Path:
    stream = io.BytesIO()
    np.save(stream, np.ones(3, "float32"))
    return _zip(folder / "a.npz", [(f"layers/dense_{'9' * 5000}/vars/0.npy", stream.getvalue())])


def _long_names(folder: Path) -> Path:
    head = {"n" * 1_000_000 + str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(9)}
    text = json.dumps(head).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    return folder / "a.safetensors"


def _zeros(megabytes: int) -> bytes:
    """So many megabytes of zeros, deflated."""
    packer, part = zlib.compressobj(9), bytes(2**20)
    return b"".join(packer.compress(part) for _ in range(megabytes)) + packer.flush()


def _chunk_bomb(folder: Path) -> Path:
    """A chunk that is said to have 4 MB and inflates to 800 MB, in a `.keras`, which deflates it once more."""
    import h5py

    with h5py.File(folder / "a.weights.h5", "w") as file:
        shape = {"shape": (6,), "maxshape": (None,), "chunks": (2**20,)}
        data = file.create_dataset("layers/dense/vars/0", **shape, dtype="f4", compression="gzip")
        data.id.write_direct_chunk((0,), _zeros(800))
    members = [("config.json", b"{}"), ("metadata.json", b"{}")]
    return _zip(folder / "a.keras", [*members, ("model.weights.h5", (folder / "a.weights.h5").read_bytes())])


def _member_bomb(folder: Path) -> Path:
    """A member of a `.keras` that inflates to 1.5 GB."""
    path = folder / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model.weights.h5", "w") as member:
        member.write(b"\x89HDF\r\n\x1a\n")
        for _ in range(1500):
            member.write(bytes(2**20))
    return path


def _fill_values(folder: Path) -> Path:
    """A dataset of 4 GB of which nothing is stored."""
    import h5py

    with h5py.File(folder / "a.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(10**9,), dtype="f4", chunks=(10**6,), fillvalue=1.0)
    return folder / "a.weights.h5"


def _zip(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


WEIGHTS: dict[str, Callable[[Path], Path]] = {
    "30,000 empty arrays (.npz)": _npz_of_empty,
    "15,000 empty datasets (.h5)": _hdf5_of_empty,
    "90,000 empty tensors (.safetensors)": _safetensors_of_empty,
    "5,000 digits in a name": _digits,
    "names of 1 MB": _long_names,
    "a chunk that inflates to 800 MB": _chunk_bomb,
    "a member that inflates to 1.5 GB": _member_bomb,
    "4 GB of fill values": _fill_values,
}
