"""Takes a batch apart into rows a trace can hold. Knows the shapes of batches, nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from diagnose.record.handlers import let_through
from diagnose.tracefile.composite import Composite, Strings, parts_of
from diagnose.tracefile.model import DTYPES, Json, Leaf, NDArray, Signature
from diagnose.tracefile.rows import in_columns


@dataclass(frozen=True, slots=True)
class TakenBatch:
    """A batch as NumPy arrays: leaves of x and y in signature order, and its sample weights.

    Where one leaf has no row axis (ragged, sparse, strings), all leaves are `whole`: the batch is kept in one piece.
    """

    signature: Signature
    leaves: list[NDArray]
    sample_weight: NDArray | None
    rows: int
    shares: tuple[int, ...] | None = None
    """The rows of each replica, in order, where the batch was split."""
    weight_tree: Json = None
    """Where there are sample weights for several outputs, each output's are columns of `sample_weight`, and this is the
    tree they came in (`in_columns`)."""
    bare: bool = False
    """Whether x came by itself, not as the first of a tuple."""

    @property
    def whole(self) -> bool:
        return self.signature.leaves[0].whole

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return sum([leaf.nbytes for leaf in self.leaves]) + (
            0 if self.sample_weight is None else self.sample_weight.nbytes
        )


class NotCaptured(Exception):
    """This batch cannot be recorded; the message says why. Training and everything else is recorded all the same."""


class ToNumpy(Protocol):
    """How a backend gives its values as NumPy arrays."""

    def __call__(self, value: Any) -> NDArray | Composite: ...


def take(data: Any, to_numpy: ToNumpy, shares: tuple[int, ...] | None = None) -> TakenBatch:
    """Splits what `train_step` got, (x,), (x, y) or (x, y, sample_weight), into leaves.

    Raises:
        NotCaptured: a leaf is neither an array nor a known composite, or the leaves disagree on the number of rows.
    """
    x, y, sample_weight = _unpack(data)
    bare = not isinstance(data, (tuple, list))
    found = _Leaves(to_numpy)
    structure = {"x": found.node(x), "y": found.node(y)}
    leaves = found.arrays
    if not leaves:
        raise NotCaptured("the batch is empty")
    weight, weight_tree = _weights(found, sample_weight)
    whole = found.composite or any(leaf.ndim == 0 for leaf in leaves)
    if shares is not None and (whole or any(len(leaf) != sum(shares) for leaf in leaves)):
        raise NotCaptured("the batch was split over replicas in a way that is not recorded")
    if whole:
        signature = Signature(structure, tuple(Leaf(leaf.dtype.name, (), whole=True) for leaf in leaves))
        return TakenBatch(signature, leaves, weight, 0, None, weight_tree, bare)
    rows = len(leaves[0])
    if any(len(leaf) != rows for leaf in leaves):
        raise NotCaptured("the arrays of the batch have different numbers of rows")
    signature = Signature(structure, tuple(Leaf(leaf.dtype.name, leaf.shape[1:]) for leaf in leaves))
    return TakenBatch(signature, leaves, weight, rows, shares, weight_tree, bare)


def _weights(found: _Leaves, sample_weight: Any) -> tuple[NDArray | None, Json]:
    if not isinstance(sample_weight, (Mapping, list, tuple)):
        return None if sample_weight is None else found.array(sample_weight), None
    own = _Leaves(found.to_numpy)
    tree = own.node(sample_weight)
    if not own.arrays:
        return None, None
    try:
        if own.composite:
            raise ValueError("not an array of numbers")
        columns, nodes = in_columns(own.arrays)
    except ValueError:
        raise NotCaptured("sample weights for several outputs are not of the same rows and dtype") from None
    return columns, _placed(tree, nodes)


def _placed(tree: Json, nodes: list[Json]) -> Json:
    """The tree with these nodes in the place of its leaves."""
    ((kind, content),) = tree.items()
    if kind == "leaf":
        return nodes[content]
    if kind == "dict":
        return {kind: {name: _placed(child, nodes) for name, child in content.items()}}
    return {kind: [_placed(child, nodes) for child in content]} if isinstance(content, list) else tree


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


class _Leaves:
    """Collects the arrays of a batch while its structure is walked."""

    def __init__(self, to_numpy: ToNumpy) -> None:
        self.to_numpy = to_numpy
        self.arrays: list[NDArray] = []
        self.composite = False

    def node(self, tree: Any) -> Json:
        if tree is None:
            return {"none": True}
        if isinstance(tree, Mapping):
            return {"dict": {str(k): self.node(tree[k]) for k in tree}}
        if isinstance(tree, tuple):
            return {"tuple": [self.node(child) for child in tree]}
        if isinstance(tree, list):
            return {"list": [self.node(child) for child in tree]}
        value = self._read(tree)
        if isinstance(value, np.ndarray):
            return self._leaf(value)
        self.composite = True
        kind, parts = parts_of(value)
        return {kind: [self._leaf(part) for part in parts]}

    def _leaf(self, array: NDArray) -> Json:
        if array.dtype.name not in DTYPES:
            raise NotCaptured(f"arrays of dtype {array.dtype.name} are not recorded")
        self.arrays.append(np.ascontiguousarray(array) if array.ndim else array)
        return {"leaf": len(self.arrays) - 1}

    def array(self, value: Any) -> NDArray:
        """A plain array; not one of the leaves."""
        found = self._read(value)
        if not isinstance(found, np.ndarray) or found.dtype.name not in DTYPES:
            raise NotCaptured("sample weights are no array of numbers")
        return found

    def _read(self, value: Any) -> NDArray | Composite:
        try:
            found = self.to_numpy(value)
        except Exception as error:
            let_through(error)
            raise NotCaptured(
                f"a {type(value).__name__} cannot be read as an array ({type(error).__name__})"
            ) from error
        if isinstance(found, np.ndarray) and found.dtype.kind in "OSU":
            return Strings.of(found.astype(object))
        return found
