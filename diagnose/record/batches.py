"""Takes a batch apart into rows a trace can hold. Knows the shapes of batches, nothing of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.trace.model import DTYPES, Json, Leaf, NDArray, Signature


@dataclass(frozen=True, slots=True)
class TakenBatch:
    """A batch as NumPy arrays: row-wise leaves of x and y in signature order, and its sample weights."""

    signature: Signature
    leaves: list[NDArray]
    sample_weight: NDArray | None
    rows: int


class NotCaptured(Exception):
    """This batch cannot be recorded; the message says why. Training and everything else is recorded all the same."""


def take(data: Any, to_numpy: Callable[[Any], NDArray]) -> TakenBatch:
    """Splits what `train_step` got, (x,), (x, y) or (x, y, sample_weight), into leaves.

    Raises:
        NotCaptured: a leaf is no plain array (ragged, sparse, strings), or the leaves disagree on the number of rows.
    """
    x, y, sample_weight = _unpack(data)
    leaves: list[NDArray] = []
    structure = {"x": _node(x, leaves, to_numpy), "y": _node(y, leaves, to_numpy)}
    if not leaves or any(leaf.ndim == 0 for leaf in leaves):
        raise NotCaptured("the batch holds values without a row axis")
    rows = len(leaves[0])
    if any(len(leaf) != rows for leaf in leaves):
        raise NotCaptured("the arrays of the batch have different numbers of rows")
    weight = None
    if sample_weight is not None:
        if isinstance(sample_weight, (dict, list, tuple)):
            raise NotCaptured("sample weights for several outputs are not recorded")
        weight = _array(sample_weight, to_numpy)
    signature = Signature(structure, tuple(Leaf(leaf.dtype.name, leaf.shape[1:]) for leaf in leaves))
    return TakenBatch(signature, leaves, weight, rows)


def _unpack(data: Any) -> tuple[Any, Any, Any]:
    # Same rules as keras.utils.unpack_x_y_sample_weight, which treats a list like one x.
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return (data, None, None)
    if len(data) > 3:
        raise NotCaptured(f"the batch has {len(data)} parts, not x, y and sample_weight")
    padded: tuple[Any, Any, Any] = (*data, None, None, None)[:3]
    return padded


def _node(tree: Any, leaves: list[NDArray], to_numpy: Callable[[Any], NDArray]) -> Json:
    if tree is None:
        return {"none": True}
    if isinstance(tree, dict):
        return {"dict": {str(k): _node(tree[k], leaves, to_numpy) for k in tree}}
    if isinstance(tree, tuple):
        return {"tuple": [_node(child, leaves, to_numpy) for child in tree]}
    if isinstance(tree, list):
        return {"list": [_node(child, leaves, to_numpy) for child in tree]}
    leaves.append(_array(tree, to_numpy))
    return {"leaf": len(leaves) - 1}


def _array(value: Any, to_numpy: Callable[[Any], NDArray]) -> NDArray:
    try:
        array = to_numpy(value)
    except Exception as error:
        raise NotCaptured(f"a {type(value).__name__} cannot be read as an array ({type(error).__name__})") from error
    if array.dtype.name not in DTYPES:
        raise NotCaptured(f"arrays of dtype {array.dtype.name} are not recorded")
    return np.ascontiguousarray(array)
