"""What a step left in a model's variables, taken in one piece on the training thread, which does not wait for it, and
read by whichever thread asks first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.tracefile.model import NDArray

Place = tuple[int, int, int, tuple[int, ...]]
"""Where a variable lies: in which of the flat arrays, from where to where, and its shape."""


def places_by_group(groups: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Place]:
    """Where variables lie once those of one group (a dtype, as it may be) are put one behind the other: groups in the
    order in which they first occur."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    used = [0] * len(numbers)
    places = []
    for group, shape in zip(groups, shapes, strict=True):
        number = numbers[group]
        start, used[number] = used[number], used[number] + math.prod(shape)
        places.append((number, start, used[number], tuple(shape)))
    return places


@dataclass(frozen=True, slots=True)
class Pack:
    """Contents that nothing will change, as a backend holds them: variables each for themselves, or flat arrays with
    the `places` of variables in them. `view` gives each as a NumPy array, and waits where it has to."""

    held: Sequence[Any]
    view: Callable[[Any], NDArray]
    places: Sequence[Place] | None = None

    def read(self) -> list[NDArray]:
        """The variables, in order. On any thread."""
        views = [self.view(value) for value in self.held]
        if self.places is None:
            return views
        return [views[number][start:end].reshape(shape) for number, start, end, shape in self.places]


class Look:
    """The variables and the metrics' variables as a step left them.

    Args:
        pack: first `count` variables of the model, then those of metrics.
        sizes: bytes of the model's variables together, and of the metrics'.
    """

    __slots__ = ("_arrays", "_count", "_metrics", "_pack", "_sizes")

    def __init__(self, pack: Pack, count: int, sizes: tuple[int, int]) -> None:
        self._pack: Pack | None = pack
        self._count = count
        self._sizes = sizes
        self._arrays: list[NDArray] = []
        self._metrics = b""

    @property
    def arrays(self) -> list[NDArray]:
        """The model's variables; none once they were released."""
        self._read()
        return self._arrays

    @property
    def metrics(self) -> bytes:
        """The contents of the metrics' variables, one after the other."""
        self._read()
        return self._metrics

    @property
    def nbytes(self) -> int:
        return sum(self._sizes)

    def __len__(self) -> int:
        """Bytes of the metrics' variables: known without reading them."""
        return self._sizes[1]

    def release(self) -> None:
        """The model's variables are not needed any more."""
        self._read()
        self._arrays = []

    def _read(self) -> None:
        pack = self._pack
        if pack is not None:
            found = pack.read()
            self._metrics = b"".join([array.tobytes() for array in found[self._count :]])
            self._arrays = found[: self._count]
            self._pack = None  # last: another thread may have come as far as the first line


MetricState = bytes | Look | None
"""The metrics' variables, one after the other, read by now or not; None where they were not looked at."""


def raw(state: MetricState) -> bytes | None:
    """Their bytes. On any thread."""
    return state.metrics if isinstance(state, Look) else state
