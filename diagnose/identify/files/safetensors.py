"""Reads `.safetensors`: eight bytes of length, a JSON header, and the arrays one after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import numpy as np

from diagnose.identify.files.stored import Entry, Malformed, Stored, check_total, entry, shown
from diagnose.tracefile.digest import numpy_dtype
from diagnose.tracefile.model import NDArray

MOST_HEADER_BYTES: Final = 10_000_000
"""A tenth of what the format's own reader takes, and 200 bytes for each of the arrays that are read at most: parsed,
JSON may take thirty times its length."""

DTYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip


@contextmanager
def open_stored(file: BinaryIO) -> Iterator[Stored]:
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    start, header = _header(file, file_bytes)
    found: dict[str, Entry] = {}
    places: dict[str, tuple[int, int]] = {}
    for name, said in header.items():
        if name != "__metadata__":
            found[name], places[name] = _entry(name, said)
    at = 0
    for name in sorted(places, key=lambda name: places[name]):
        first, last = places[name]
        if first != at:
            raise Malformed(f"array '{shown(name)}' begins at byte {first} where {at} is expected")
        at = last
    if start + at != file_bytes:
        raise Malformed(f"its arrays take {at} bytes, and {file_bytes - start} follow its header")
    check_total(found, file_bytes)

    def load(name: str) -> NDArray:
        first, last = places[name]
        file.seek(start + first)
        data = file.read(last - first)
        if len(data) != last - first:
            raise Malformed(f"array '{shown(name)}' is cut off")
        array: NDArray = np.frombuffer(data, numpy_dtype(found[name].dtype).newbyteorder("<"))
        return array.reshape(found[name].shape).astype(array.dtype.newbyteorder("="), copy=False)

    yield Stored("safetensors", found, load)


def _header(file: BinaryIO, file_bytes: int) -> tuple[int, dict[str, Any]]:
    """Where the arrays begin, and the parsed header."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= file_bytes - 8:
        raise Malformed(f"its header of {length} bytes does not fit in it")
    if length > MOST_HEADER_BYTES:
        raise Malformed(f"its header has {length} bytes; at most {MOST_HEADER_BYTES} are read")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"its header is no JSON ({shown(error)})") from error
    if not isinstance(header, dict):
        raise Malformed("its header is no JSON object")
    return 8 + length, header


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _entry(name: str, said: Any) -> tuple[Entry, tuple[int, int]]:
    if not isinstance(said, dict) or not isinstance(said.get("shape"), list):
        raise Malformed(f"its header does not describe array '{shown(name)}'")
    dtype, offsets = said.get("dtype"), said.get("data_offsets")
    made = entry(name, DTYPES.get(dtype, dtype) if isinstance(dtype, str) else "?", said["shape"])
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and 0 <= n < 1 << 63 for n in offsets)
    ):
        raise Malformed(f"its header does not say where array '{shown(name)}' is")
    if offsets[1] - offsets[0] != made.nbytes:
        raise Malformed(
            f"array '{shown(name)}' has {offsets[1] - offsets[0]} bytes where its shape takes {made.nbytes}"
        )
    return made, (offsets[0], offsets[1])
