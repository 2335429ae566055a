"""Values of a batch that are no single array: ragged and sparse tensors, and strings. Plain data; knows no backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diagnose.tracefile.model import NDArray


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths: `values`, and one int64 array of row splits per ragged axis, outermost first."""

    values: NDArray
    row_splits: tuple[NDArray, ...]

    def __len__(self) -> int:
        return len(self.row_splits[0]) - 1


@dataclass(frozen=True, slots=True)
class Sparse:
    """`values` at `indices`, int64 of shape (n, rank); everything else is zero. `shape` is int64 of shape (rank,)."""

    indices: NDArray
    values: NDArray
    shape: NDArray

    def __len__(self) -> int:
        return int(self.shape[0])


@dataclass(frozen=True, slots=True)
class Strings:
    """Byte strings one after the other in `text` (uint8): string `i` goes from `offsets[i]` to `offsets[i + 1]`.
    `shape` is that of the array of strings."""

    text: NDArray
    offsets: NDArray
    shape: NDArray

    def __len__(self) -> int:
        return int(self.shape[0]) if self.shape.size else 0

    def to_numpy(self) -> npt.NDArray[np.object_]:
        """The strings as an object array of bytes."""
        data = self.text.tobytes()
        bounds = self.offsets.tolist()
        found = np.empty(len(bounds) - 1, object)
        for i in range(len(found)):
            found[i] = data[bounds[i] : bounds[i + 1]]
        return found.reshape(self.shape.tolist())

    @classmethod
    def of(cls, strings: npt.NDArray[np.object_]) -> Strings:
        """From an object array of bytes or str (encoded as UTF-8)."""
        flat = [s.encode() if isinstance(s, str) else bytes(s) for s in strings.reshape(-1)]
        lengths = np.fromiter((len(s) for s in flat), np.int64, len(flat))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        text = np.frombuffer(b"".join(flat), np.uint8)
        return cls(text, offsets, np.array(strings.shape, np.int64))


Composite = Ragged | Sparse | Strings

KINDS = {"ragged": Ragged, "sparse": Sparse, "strings": Strings}


def parts_of(value: Composite) -> tuple[str, list[NDArray]]:
    """The kind's name and the arrays a composite consists of."""
    if isinstance(value, Ragged):
        return "ragged", [value.values, *value.row_splits]
    if isinstance(value, Sparse):
        return "sparse", [value.indices, value.values, value.shape]
    return "strings", [value.text, value.offsets, value.shape]


def from_parts(kind: str, parts: Sequence[NDArray]) -> Composite:
    """The inverse of `parts_of`. Raises ValueError for parts that do not make a valid value."""
    if kind == "ragged" and len(parts) >= 2:
        for splits, inner in zip(parts[1:], [*parts[2:], parts[0]], strict=True):
            rows = len(inner) - (inner is not parts[0])
            if splits.dtype != np.int64 or splits.ndim != 1 or not len(splits) or splits[0] != 0 or splits[-1] != rows:
                raise ValueError("row splits of a ragged value do not fit its values")
            if np.any(np.diff(splits) < 0):
                raise ValueError("row splits of a ragged value do not grow")
        return Ragged(parts[0], tuple(parts[1:]))
    if kind == "sparse" and len(parts) == 3:
        indices, values, shape = parts
        if indices.ndim != 2 or shape.ndim != 1 or indices.shape != (len(values), len(shape)) or not len(shape):
            raise ValueError("the indices of a sparse value do not fit its values")
        if np.any(indices < 0) or np.any(indices >= shape):
            raise ValueError("an index of a sparse value is out of its bounds")
        return Sparse(indices, values, shape)
    if kind == "strings" and len(parts) == 3:
        text, offsets, shape = parts
        if text.dtype != np.uint8 or offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets):
            raise ValueError("strings are not bytes with offsets")
        if offsets[0] != 0 or offsets[-1] != text.size or np.any(np.diff(offsets) < 0):
            raise ValueError("offsets of strings do not fit their bytes")
        if shape.ndim != 1 or np.any(shape < 0) or int(np.prod(shape, dtype=np.int64)) != len(offsets) - 1:
            raise ValueError("the shape of strings does not fit their number")
        return Strings(text, offsets, shape)
    raise ValueError(f"a batch's structure has an unknown part {kind!r:.40}")
