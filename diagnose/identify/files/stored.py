"""What a reader gives, and the bounds that all of them hold: arrays by name, loaded one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from diagnose.tracefile.model import DTYPES, NDArray, itemsize

MOST_ARRAYS: Final = 50_000
MOST_DIMENSIONS: Final = 32
MOST_EXPANDED_BYTES: Final = 64 << 20
"""What any file may expand to; one of more than a quarter of that, to four times its size. Keras compresses nothing,
and weights hardly can be; a few copies of so much fit into the memory that reading a small file may take."""


class Malformed(Exception):
    """What is wrong with a file, as a clause; `open_weights` makes the sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of a file: dtype name as in a trace, shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * itemsize(self.dtype)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of weights, open. `load(name)` reads one array, and raises Malformed where its content is not what its
    entry says."""

    format: str
    entries: Mapping[str, Entry]
    load: Callable[[str], NDArray]


def entry(name: str, dtype: str, shape: Sequence[object]) -> Entry:
    """A checked entry."""
    if dtype not in DTYPES:
        raise Malformed(f"array '{shown(name)}' is of dtype {shown(dtype)}, which holds no weights")
    if len(shape) > MOST_DIMENSIONS or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
        raise Malformed(f"array '{shown(name)}' has no possible shape")
    return Entry(dtype, tuple(int(str(n)) for n in shape))


def check_total(entries: Mapping[str, Entry], file_bytes: int) -> None:
    """Refuses files that claim to hold far more than they can."""
    if len(entries) > MOST_ARRAYS:
        raise Malformed(f"it holds {len(entries)} arrays; at most {MOST_ARRAYS} are read")
    check_expanded(sum(e.nbytes for e in entries.values()), file_bytes)


def check_expanded(nbytes: int, file_bytes: int) -> None:
    if nbytes > max(MOST_EXPANDED_BYTES, 4 * file_bytes):
        raise Malformed(f"it has {file_bytes} bytes and claims to expand to {nbytes}")


def shown(name: object) -> str:
    """Text of a file in a message: short, and without control characters."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(name))
    return text if len(text) <= 80 else f"{text[:77]}…"
