"""The arrays that a fit was given, for the analysis of a trace that has digests of their rows only. Copies nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from diagnose.frameworks.keras.fits import validation_of_fit

MOST_HELD: Final = 1 << 30
"""Bytes of arrays of one fit that are kept alive; larger ones are known only as long as their owner keeps them."""


class _Gone(Exception):
    """An array is not there any more, or there was none."""


class LiveData:
    """Training and validation data of a fit as it was given to it.

    Args:
        arguments: the local variables of `fit`.
        hold: keeps the arrays alive, up to `MOST_HELD`; else they are known while somebody else keeps them.
    """

    def __init__(self, arguments: Mapping[str, Any], *, hold: bool) -> None:
        training = [arguments.get(name) for name in ("x", "y", "sample_weight")]
        validation = list(validation_of_fit(arguments))
        self._class_weight = arguments.get("class_weight")
        self._arrays = training[0] is not None and all(map(is_arrays, training))
        given = [part for part in (training, validation) if part[0] is not None and all(map(is_arrays, part))]
        held = hold and sum(map(nbytes, given)) <= MOST_HELD
        self._parts = [[_referred(tree, hold=held) for tree in part] for part in given]

    def parts(self) -> Iterator[tuple[Any, Any, Any]]:
        """(x, y, sample weights) of the training data, then of the validation data, as far as they are still there, as
        trees of NumPy arrays."""
        for place, part in enumerate(self._parts):
            try:
                x, y, weight = (read() for read in part)
                if weight is None and self._class_weight and place == 0:
                    weight = _by_class(y, self._class_weight)
            except Exception:  # gone, or of a form that NumPy does not take
                continue
            yield x, y, weight

    @property
    def lack(self) -> str:
        """Why rows may be missing, as a clause; empty where the training data is there."""
        if not self._arrays:
            return "only digests of rows were kept, and fit was given no arrays to take the rows from"
        try:
            for read in self._parts[0]:
                read()
        except _Gone:
            return "only digests of rows were kept, and the arrays that fit was given are gone"
        return ""


def is_arrays(tree: Any) -> bool:
    """Whether it is an array, or a tree of them; None is none at all."""
    if isinstance(tree, dict):
        return all(map(is_arrays, tree.values()))
    if isinstance(tree, (list, tuple)):
        return bool(tree) and all(map(is_arrays, tree))
    return tree is None or (hasattr(tree, "shape") and len(tree.shape) > 0 and hasattr(tree, "__getitem__"))


def nbytes(tree: Any) -> int:
    """About what the arrays of a tree hold."""
    if isinstance(tree, dict):
        return sum(map(nbytes, tree.values()))
    if isinstance(tree, (list, tuple)):
        return sum(map(nbytes, tree))
    return int(getattr(tree, "nbytes", 8 * int(np.prod(tree.shape)))) if hasattr(tree, "shape") else 0


def _referred(tree: Any, *, hold: bool) -> Callable[[], Any]:
    """What gives the tree again. Raises _Gone when called, where an array of it is gone."""
    if isinstance(tree, dict):
        by_name = {name: _referred(value, hold=hold) for name, value in tree.items()}
        return lambda: {name: read() for name, read in by_name.items()}
    if isinstance(tree, (list, tuple)):
        kind, items = (list if isinstance(tree, list) else tuple), [_referred(value, hold=hold) for value in tree]
        return lambda: kind(read() for read in items)
    if tree is None:
        return lambda: None
    if hold:
        return lambda: np.asarray(tree)
    try:
        reference = weakref.ref(_owner(tree))
    except TypeError:
        return _gone
    return lambda: np.asarray(_there(reference()))


def _owner(array: Any) -> Any:
    """The array that a part of its rows was taken of: `validation_split` makes parts that nobody else keeps."""
    while isinstance(base := getattr(array, "base", None), np.ndarray) and base.shape[1:] == array.shape[1:]:
        if base.dtype != array.dtype or base.strides[1:] != array.strides[1:]:
            break
        array = base
    return array


def _there(value: Any) -> Any:
    return _gone() if value is None else value


def _gone() -> Any:
    raise _Gone


def _by_class(y: Any, weights: Mapping[int, float]) -> Any:
    """The sample weights that Keras makes of class weights (`data_adapter_utils.class_weight_to_sample_weights`)."""
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = labels.argmax(-1) if labels.shape[-1] != 1 else labels[..., 0]
    labels = np.round(labels).astype("int32")
    found = np.ones(labels.shape, "float32")
    for label, weight in weights.items():
        found[labels == int(label)] = weight
    return found
