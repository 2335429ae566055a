"""Content digests (XXH3-128) of arrays, groups of arrays and rows. They find damage; they do not stop forgery."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from diagnose.tracefile.model import DTYPES, Digest, NDArray

DIGEST_BYTES = 16
_NATIVE = sys.byteorder == "little"


@functools.lru_cache(maxsize=256)
def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """The name of a dtype a trace can hold, whatever its byte order. Raises TypeError for any other."""
    name = dtype.name
    if name not in DTYPES:
        raise TypeError(f"A trace cannot hold arrays of dtype {name}; it can hold {', '.join(sorted(DTYPES))}.")
    return name


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """The NumPy dtype of a name in `DTYPES`. Raises KeyError for other names, ImportError where bfloat16 or float8
    need `ml_dtypes`."""
    if name not in DTYPES:
        raise KeyError(name)
    if name.startswith(("bfloat16", "float8")):
        import ml_dtypes

        extended: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return extended
    return np.dtype(name)


def array_bytes(array: NDArray) -> npt.NDArray[np.uint8]:
    """The C-order little-endian bytes of an array, flat; a view where the array already has that layout."""
    if _NATIVE and array.dtype.isnative and array.flags.c_contiguous and array.size:
        return array.reshape(-1).view(np.uint8)
    if array.dtype.byteorder == ">" or (sys.byteorder == "big" and array.dtype.byteorder == "="):
        array = array.astype(array.dtype.newbyteorder("<"))
    flat = np.ascontiguousarray(array).reshape(array.size)
    return flat.view(np.uint8) if array.size else np.empty(0, np.uint8)


@functools.lru_cache(maxsize=4096)
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    # The newline ends the header and cannot occur in it, so no two (dtype, shape, bytes) share one input.
    return f"{dtype}:{','.join(str(n) for n in shape)}\n".encode()


def content_digest(
    dtype: str, shape: Sequence[int], data: Iterable[bytes | memoryview | npt.NDArray[np.uint8]]
) -> Digest:
    """The digest of an array given as dtype name, shape and the parts of its bytes."""
    hasher = xxhash.xxh3_128(_header(dtype, tuple(shape)))
    for part in data:
        hasher.update(part)  # type: ignore[arg-type]
    return hasher.digest()


def array_digest(array: NDArray) -> Digest:
    """The digest of one array: equal exactly if dtype, shape and bytes are (so 0.0 and -0.0 differ, and equal NaN bits
    do not)."""
    hasher = xxhash.xxh3_128(_header(dtype_name(array.dtype), array.shape))
    hasher.update(array_bytes(array))  # type: ignore[arg-type]
    return hasher.digest()


def group_digest(digests: Iterable[Digest]) -> Digest:
    """The digest of an ordered group of arrays, from their digests. An empty group has one too."""
    return xxhash.xxh3_128_digest(b"group\n" + b"".join(digests))


def row_digests(packed: npt.NDArray[np.uint8]) -> list[Digest]:
    """One digest per row of `packed`, uint8 of shape (n, nbytes): XXH3-128 of the packed bytes alone."""
    count, width = packed.shape
    if not width:
        return [xxhash.xxh3_128_digest(b"")] * count
    data = np.ascontiguousarray(packed).reshape(packed.size).data
    digest = xxhash.xxh3_128_digest
    return [digest(data[start : start + width]) for start in range(0, count * width, width)]


def split_digests(data: bytes) -> tuple[Digest, ...]:
    """The digests in a concatenation of digests. Raises ValueError if the length is no multiple of 16."""
    if len(data) % DIGEST_BYTES:
        raise ValueError(f"a list of digests has {len(data)} bytes, no multiple of {DIGEST_BYTES}")
    return tuple(data[i : i + DIGEST_BYTES] for i in range(0, len(data), DIGEST_BYTES))
