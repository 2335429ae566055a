"""Packs the leaves of a batch into rows of bytes and builds batches from rows again. Does not know any file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnose.tracefile.composite import KINDS, from_parts
from diagnose.tracefile.digest import array_bytes, numpy_dtype
from diagnose.tracefile.model import DTYPES, Json, Leaf, NDArray, Signature, itemsize

MAX_STRUCTURE_DEPTH = 32


def pack_rows(leaves: Sequence[NDArray]) -> npt.NDArray[np.uint8]:
    """Packs row-wise leaves, each of shape (n, …), into uint8 of shape (n, row bytes): leaf after leaf, C order,
    little endian.

    The result may share memory with a single leaf. Raises ValueError if there is no leaf or they differ in n.
    """
    if not leaves or any(leaf.ndim == 0 or len(leaf) != len(leaves[0]) for leaf in leaves):
        raise ValueError("rows are packed from at least one leaf, all with the same number of rows")
    count = len(leaves[0])
    widths = [prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in leaves]
    if len(leaves) == 1:
        return array_bytes(leaves[0]).reshape(count, widths[0])
    packed = np.empty((count, sum(widths)), np.uint8)
    start = 0
    for leaf, width in zip(leaves, widths, strict=True):
        packed[:, start : start + width] = array_bytes(leaf).reshape(count, width)
        start += width
    return packed


def unpack_rows(packed: npt.NDArray[np.uint8], signature: Signature) -> list[NDArray]:
    """The row-wise leaves of `signature`, read-only, from packed rows of shape (n, signature.row_nbytes).

    Raises ValueError if the width does not match or a bool is neither 0 nor 1, ImportError if a dtype needs
    `ml_dtypes`.
    """
    if packed.ndim != 2 or packed.shape[1] != signature.row_nbytes:
        raise ValueError(
            f"packed rows of shape {packed.shape} do not fit a signature of {signature.row_nbytes} bytes a row"
        )
    count = len(packed)
    leaves: list[NDArray] = []
    start = 0
    for leaf in signature.leaves:
        if leaf.whole:
            continue
        width = prod(leaf.shape) * itemsize(leaf.dtype)
        part = np.array(packed[:, start : start + width], order="C")
        leaves.append(typed(part.reshape(count * width), leaf.dtype, (count, *leaf.shape)))
        start += width
    return leaves


def typed(data: npt.NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray:
    """Flat bytes as a read-only array of a dtype in `DTYPES`. Raises ValueError if a bool is neither 0 nor 1."""
    if dtype == "bool" and data.size and int(data.max()) > 1:
        raise ValueError("a bool is neither 0 nor 1")
    array = data.view(numpy_dtype(dtype).newbyteorder("<")).reshape(shape)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def build(node: Json, leaves: Sequence[NDArray], depth: int = 0) -> Any:
    """The tree a signature's structure describes, with `leaves` in place. Raises ValueError if the description is not
    a valid one."""
    if depth > MAX_STRUCTURE_DEPTH or not isinstance(node, dict) or len(node) != 1:
        raise ValueError("a batch's structure is not a tree of leaves, lists, tuples and dicts")
    ((kind, content),) = node.items()
    if kind == "leaf" and type(content) is int and 0 <= content < len(leaves):
        return leaves[content]
    if kind == "columns" and isinstance(content, list):
        return _of_columns(content, leaves)
    if kind == "none":
        return None
    if kind in ("list", "tuple") and isinstance(content, list):
        items = [build(child, leaves, depth + 1) for child in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict" and isinstance(content, dict):
        return {name: build(child, leaves, depth + 1) for name, child in content.items()}
    if kind in KINDS and isinstance(content, list):
        return from_parts(kind, [build(child, leaves, depth + 1) for child in content])
    raise ValueError(f"a batch's structure has an unknown part {kind!r:.40}")


def _of_columns(content: Sequence[Any], columns: Sequence[NDArray]) -> NDArray:
    if not content or any(type(n) is not int or n < 0 for n in content):
        raise ValueError("a batch's structure has columns without a place")
    start, *shape = content
    own = columns[start : start + prod(shape)]
    if len(own) != prod(shape) or not own:
        raise ValueError("a batch's structure has columns that are not there")
    return np.stack(own, axis=1).reshape(-1, *shape)


def in_columns(arrays: Sequence[NDArray]) -> tuple[NDArray, list[Json]]:
    """Arrays with a number, or several, for each row side by side as the columns of one, and the leaves that `build`
    makes each of again. Raises ValueError where they differ in rows or dtype."""
    if not arrays or any(a.ndim == 0 or len(a) != len(arrays[0]) or a.dtype != arrays[0].dtype for a in arrays):
        raise ValueError("only arrays of the same rows and dtype stand side by side")
    nodes: list[Json] = []
    start = 0
    for array in arrays:
        nodes.append({"leaf": start} if array.ndim == 1 else {"columns": [start, *array.shape[1:]]})
        start += prod(array.shape[1:])
    return np.concatenate([a.reshape(len(a), prod(a.shape[1:])) for a in arrays], axis=1), nodes


def leaves_of(tree: Any) -> list[Any]:
    """The arrays of a batch's tree, in order."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves_of(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in leaves_of(value)]
    return [tree]


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """The tree with what `function` gives of each of its arrays; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {name: mapped(value, function) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(mapped(value, function) for value in tree)
    return function(tree)


def rows_in(tree: Any) -> int:
    """The number of rows of a batch's x: the length of its first leaf, 0 where there is none."""
    if tree is None:
        return 0
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return next((n for n in map(rows_in, tree) if n), 0)
    return len(tree) if getattr(tree, "ndim", 1) else 0


def as_recorded_leaves(leaves: Sequence[Any], recorded: Sequence[Leaf]) -> list[NDArray] | None:
    """The leaves in the dtypes and shapes they were recorded in; None if they are other leaves."""
    if len(recorded) != len(leaves) or any(leaf.whole for leaf in recorded):
        return None
    fitted = [_as_recorded(a, r.dtype, r.shape) for a, r in zip(leaves, recorded, strict=True)]
    found = [leaf for leaf in fitted if leaf is not None]
    return found if len(found) == len(fitted) else None


def _as_recorded(array: NDArray, dtype: str, shape: tuple[int, ...]) -> NDArray | None:
    if dtype not in DTYPES or int(np.prod(array.shape[1:], dtype=np.int64)) != int(np.prod(shape, dtype=np.int64)):
        return None
    try:
        return np.ascontiguousarray(array.astype(dtype).reshape(len(array), *shape))
    except (TypeError, ValueError):
        return None
