"""Takes the batches of one fit as NumPy arrays, or says why one cannot be recorded. Runs on the training thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.record.backends.base import Backend
from diagnose.record.batches import NotCaptured, TakenBatch, take
from diagnose.record.handlers import let_through
from diagnose.tracefile.composite import Composite
from diagnose.tracefile.model import Json, NDArray


class Taker:
    """Remembers for which outputs the sample weights of a fit are."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._weight_tree: Json = None

    def take(self, data: Any) -> TakenBatch | str:
        """A batch, or the reason why it cannot be recorded."""
        try:
            taken = take(data, self._array, self._backend.shares(data))
            if taken.sample_weight is not None and taken.weight_tree != self._weight_tree:
                if self._weight_tree is not None:
                    raise NotCaptured("its sample weights are for other outputs than those of the batches before")
                self._weight_tree = taken.weight_tree
            return taken
        except (NotCaptured, ValueError) as reason:
            let_through(reason)
            return str(reason)

    def _array(self, value: Any) -> NDArray | Composite:
        if isinstance(value, np.ndarray):
            return value.copy()  # a generator may fill the same array again
        composite = self._backend.composite(value)
        if composite is not None:
            return composite
        array = self._backend.view(value)
        return array if self._backend.name == "tensorflow" else array.copy()
