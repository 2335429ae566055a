"""Takes the batches of one fit as NumPy arrays, or says why one cannot be recorded. Runs on the training thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from diagnose.record.backends.base import Backend
from diagnose.record.batches import NotCaptured, TakenBatch, take
from diagnose.record.handlers import let_through
from diagnose.tracefile.composite import Composite
from diagnose.tracefile.model import DTYPES, Json, NDArray


class Taker:
    """Remembers for which outputs the sample weights of a fit are."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._weight_tree: Json = None
        self._plain: _Plain | None = None

    def take(self, data: Any) -> TakenBatch | str:
        """A batch, or the reason why it cannot be recorded."""
        try:
            again = None if self._plain is None else self._plain.again(data, self._view)
            if again is not None:
                return again
            taken = take(data, self._array, self._backend.shares(data))
            if taken.sample_weight is not None and taken.weight_tree != self._weight_tree:
                if self._weight_tree is not None:
                    raise NotCaptured("its sample weights are for other outputs than those of the batches before")
                self._weight_tree = taken.weight_tree
            self._plain = _Plain.of(data, taken)
            return taken
        except (NotCaptured, ValueError) as reason:
            let_through(reason)
            return str(reason)

    def _view(self, value: Any) -> NDArray | None:
        """What was an array the last time; None where it is none now."""
        try:
            array = value if isinstance(value, np.ndarray) else self._backend.view(value)
        except Exception as error:
            let_through(error)
            return None
        return array if self._backend.name == "tensorflow" and array is not value else array.copy()

    def _array(self, value: Any) -> NDArray | Composite:
        if isinstance(value, np.ndarray):
            return value.copy()  # a generator may fill the same array again
        composite = self._backend.composite(value)
        if composite is not None:
            return composite
        array = self._backend.view(value)
        return array if self._backend.name == "tensorflow" else array.copy()


class _Plain:
    """A batch that was a tuple of arrays: one like it is told by its types and shapes, and not walked through again.

    Args:
        kinds: of each part, or None for one that is None.
        taken: how it was taken.
    """

    __slots__ = ("_kinds", "_leaves", "_taken")

    def __init__(self, kinds: list[type | None], taken: TakenBatch) -> None:
        self._kinds = kinds
        self._leaves = [(leaf.dtype, leaf.shape[1:], leaf.ndim) for leaf in taken.leaves]
        self._taken = replace(taken, leaves=[], sample_weight=None)

    @classmethod
    def of(cls, data: Any, taken: TakenBatch) -> Self | None:
        """None for a batch of another kind."""
        if type(data) is not tuple or taken.whole or taken.shares is not None or taken.weight_tree is not None:
            return None
        parts = [part for part in data[:2] if part is not None]
        arrays = len(parts) == len(taken.leaves) and not any(isinstance(part, _TREES) for part in data)
        return cls([None if part is None else type(part) for part in data], taken) if arrays else None

    def again(self, data: Any, array: Callable[[Any], NDArray | None]) -> TakenBatch | None:
        """The batch as `take` takes it; None where it is of another kind, or something about it is for `take` to
        say."""
        if type(data) is not tuple or len(data) != len(self._kinds):
            return None
        found: list[NDArray] = []
        weight = None
        for place, (part, kind) in enumerate(zip(data, self._kinds, strict=True)):
            if part is None and kind is None:
                continue
            if type(part) is not kind:
                return None
            value = array(part)
            if value is None:
                return None
            if place == 2:
                weight = value
            else:
                found.append(value)
        for leaf, known in zip(found, self._leaves, strict=True):
            if (leaf.dtype, leaf.shape[1:], leaf.ndim) != known or not leaf.flags.c_contiguous:
                return None
        rows = len(found[0])
        if (len(found) == 2 and len(found[1]) != rows) or (weight is not None and weight.dtype.name not in DTYPES):
            return None
        taken = self._taken
        return TakenBatch(taken.signature, found, weight, rows, None, None, taken.bare)


_TREES = (Mapping, list, tuple)
