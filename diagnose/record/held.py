"""How long the models of traced fits are kept for a diagnosis."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from diagnose.frameworks.keras.optimizers import own_optimizers
from diagnose.record.handlers import let_through

KEPT_FITS: Final = 16
"""Fits of one session, the last ones, whose models are kept."""

KEPT_BYTES: Final = 512 << 20
"""What these models and their optimizers may hold together. The last one is kept in any case."""


class Held:
    """Keeps the model that a fit trained, and what `compile` had made for it, from being collected."""

    __slots__ = ("__weakref__", "compiled", "model")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.compiled: dict[str, Any] = {}

    def nbytes(self) -> int:
        """About what the variables hold, at four bytes a number."""
        optimizer = self.compiled.get("optimizer")
        try:
            optimizers = [*own_optimizers(self.model), *([] if optimizer is None else [optimizer])]
            variables = [*self.model.variables, *(v for each in optimizers for v in each.variables)]
            return sum(4 * math.prod(v.shape) for v in variables)
        except Exception as error:  # a model of an unusual kind
            let_through(error)
            return 0


class Kept:
    """The last models, within bounds.

    Args:
        fits, nbytes: how many at most, and what they may hold together; the last one is kept in any case.
    """

    def __init__(self, fits: int = KEPT_FITS, nbytes: int = KEPT_BYTES) -> None:
        self._fits = fits
        self._nbytes = nbytes
        self._held: deque[tuple[Held, int]] = deque()

    def add(self, held: Held | None) -> None:
        """Keeps one more, and lets go of older ones beyond the bounds."""
        if held is None or any(held is known for known, _ in self._held):
            return
        self._held.append((held, held.nbytes() if self._fits > 1 else 0))
        while len(self._held) > 1 and (
            len(self._held) > self._fits or sum(nbytes for _, nbytes in self._held) > self._nbytes
        ):
            self._held.popleft()

    def clear(self) -> None:
        self._held.clear()
