"""The running digest over the chained rows of a trace, and the encoding of rows it is taken over. Knows no file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

import xxhash

from diagnose.tracefile.model import Digest

Value: TypeAlias = int | float | str | bytes | None
"""What a column of a chained row holds."""

_INT = struct.Struct("<cq").pack
_REAL = struct.Struct("<cd").pack
_LENGTH = struct.Struct("<cQ").pack


def encode_values(values: Sequence[Value]) -> bytes:
    """The values one after the other, each with a type byte and, for text and blobs, its length: no two sequences
    share an encoding."""
    parts: list[bytes] = []
    append = parts.append
    for value in values:
        if value is None:
            append(b"n")
        elif type(value) is int:
            append(_INT(b"i", value))
        elif type(value) is bytes:
            append(_LENGTH(b"b", len(value)))
            append(value)
        elif type(value) is str:
            text = value.encode("utf-8", "surrogatepass")
            append(_LENGTH(b"t", len(text)))
            append(text)
        elif type(value) is float:
            append(_REAL(b"r", value))
        else:
            raise TypeError(f"a row cannot hold a {type(value).__name__}")
    return b"".join(parts)


def decode_values(data: bytes, most: int = 2**63) -> list[Value]:
    """The inverse of `encode_values`. Raises ValueError for bytes it cannot have made, and for more than `most`
    values."""
    values: list[Value] = []
    at = 0
    while at < len(data):
        if len(values) >= most:
            raise ValueError("a list of batches holds more values than a trace of its size can")
        kind = data[at : at + 1]
        at += 1
        if kind == b"n":
            values.append(None)
            continue
        word = data[at : at + 8]
        if len(word) < 8:
            raise ValueError("an encoded value is cut off")
        at += 8
        if kind == b"i":
            values.append(struct.unpack("<q", word)[0])
        elif kind == b"r":
            values.append(struct.unpack("<d", word)[0])
        elif kind in (b"b", b"t"):
            length = int.from_bytes(word, "little")
            if length > len(data) - at:
                raise ValueError("an encoded value is cut off")
            content = data[at : at + length]
            values.append(content if kind == b"b" else content.decode("utf-8", "surrogatepass"))
            at += length
        else:
            raise ValueError(f"an encoded value has the unknown type {kind!r}")
    return values


class Chain:
    """XXH3-128 over every chained row so far, in order of `seq`."""

    def __init__(self) -> None:
        self._hasher = xxhash.xxh3_128(b"diagnose trace 1\n")

    def add(self, tag: int, row: Sequence[Value]) -> int:
        """Takes in one row: its table's tag and all its columns, `seq` included. Returns the bytes of its encoding."""
        return self.add_encoded(bytes((tag, len(row))) + encode_values(row))

    def add_encoded(self, encoded: bytes) -> int:
        """Takes in one row as `add` encodes it."""
        self._hasher.update(encoded)
        return len(encoded)

    def digest(self) -> Digest:
        return self._hasher.digest()

    def copy(self) -> Chain:
        """An independent chain that has taken in the same rows."""
        other = Chain()
        other._hasher = self._hasher.copy()
        return other


def diagnosis_digest(created: str, json: str) -> Digest:
    """The digest of a stored diagnosis, which is outside the chain because it may be replaced."""
    return xxhash.xxh3_128_digest(encode_values((created, json)))
