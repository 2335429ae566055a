"""Momenta of moving averages that grow from step to step, as callbacks have them in use: small at first, so that the
beginning weighs little. Numbers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from diagnose.tracefile.model import NDArray

RAMPS: Final[dict[str, Callable[[NDArray, int], NDArray]]] = {
    "(1 + n) / (10 + n)": lambda n, _: (1.0 + n) / (10.0 + n),
    "n / (n + 1)": lambda n, _: n / (n + 1.0),
    "1 - (1 + n) ** (-2 / 3)": lambda n, _: 1.0 - (1.0 + n) ** (-2.0 / 3.0),
    "1 - (1 + n) ** (-3 / 4)": lambda n, _: 1.0 - (1.0 + n) ** (-3.0 / 4.0),
    "1 - 0.004 * (cos(pi * n / N) + 1) / 2": lambda n, of: 1.0 - 0.004 * (np.cos(np.pi * n / of) + 1.0) / 2.0,
}
"""Of the number `n` of an update, of `N` in the fit: TensorFlow's `ExponentialMovingAverage`, mean teachers, timm's
`ModelEmaV3` and diffusion models by either power, and BYOL and DINO."""

CAPS: Final = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)

LARGEST: Final = 1.0 - 1e-9
"""A momentum of 1, as the last of a cosine is, adds nothing."""

FIRST: Final = (0, 1)
"""The number of the first update."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """Momenta by `text`, with the first of `total` updates as number `first`, and none above `cap` (None: none reached
    one)."""

    text: str
    first: int
    total: int
    cap: float | None = None

    def momenta(self, count: int) -> NDArray:
        """Those of so many updates."""
        found = RAMPS[self.text](np.arange(self.first, self.first + count, dtype=np.float64), self.total)
        found = np.minimum(found, LARGEST)
        return found if self.cap is None else np.minimum(found, self.cap)


def ramps(count: int) -> Iterator[Ramp]:
    """All that differ within so many updates."""
    for text, of in RAMPS.items():
        for first in FIRST:
            yield Ramp(text, first, count)
            largest = float(of(np.array([first + count - 1.0]), count)[0]) if count else 0.0
            yield from (Ramp(text, first, count, cap) for cap in CAPS if cap < largest)
