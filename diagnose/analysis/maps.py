"""Which simple map takes inputs that a call was given to those that fit had: scaled and shifted, cast, transposed, with
channels in another order. Each is found from the numbers and holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from diagnose.tracefile.model import NDArray

LEAST_ROWS: Final = 4
CLOSE: Final = 1e-4
"""Largest error of a map, as a share of the spread of fit's inputs."""
NOTHING: Final = 1e-9
"""Share of that spread up to which a shift is rounding."""


@dataclass(frozen=True, slots=True)
class Map:
    """`name`: what was done; `scale` and `shift`: fit's inputs are `scale` times the call's, plus `shift`, where that
    is one number for all. `undone`: the call's inputs, made as fit had them."""

    name: str
    undone: NDArray
    scale: float | None = None
    shift: float | None = None


def between(given: NDArray, wanted: NDArray) -> Map | None:
    """The first map that takes `given` to `wanted`, both of shape (rows, …); None where none of them does. "same": the
    same numbers, of another dtype."""
    if len(given) != len(wanted) or len(given) < LEAST_ROWS or not (given.size and given.size == wanted.size):
        return None
    if any(array.dtype.kind not in "biuf" for array in (given, wanted)):
        return None
    if given.shape == wanted.shape and bool((given == wanted).all()):
        return Map("same", wanted)  # of another dtype
    if _same(given, wanted):
        return Map("rounded", wanted)
    for name, moved in _moved(given, wanted.shape):
        if _same(moved, wanted):
            return Map(name, moved)
    if given.shape != wanted.shape:
        return None
    x, y = (array.reshape(len(array), -1).astype("float64") for array in (given, wanted))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if _same(x, np.trunc(y)) and not _same(x, y):
        return Map("cast", wanted)  # what was cut off is not in the call's inputs
    scale, shift = (float(v[0]) for v in _line(x.reshape(-1, 1), y.reshape(-1, 1)))
    if _same(scale * x + shift, y):
        shift = 0.0 if abs(shift) <= NOTHING * float(np.std(y)) else shift
        return Map("scaled", (scale * given + shift).astype(wanted.dtype), scale, shift)
    scales, shifts = _line(x, y)
    # With as few rows as that, a line of its own for each column fits anything.
    if len(x) > 2 * LEAST_ROWS and _same(scales * x + shifts, y):
        undone = (scales * x + shifts).reshape(wanted.shape)
        return Map("scaled-by-column", undone.astype(wanted.dtype))
    return None


def _moved(given: NDArray, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray]]:
    """The same numbers in other places."""
    if given.ndim > 2:
        yield "channels-reversed", given[..., ::-1]
        yield "transposed", np.swapaxes(given, 1, 2)
        yield "channels-moved", np.moveaxis(given, -1, 1)
        yield "channels-moved", np.moveaxis(given, 1, -1)
    if given.ndim == 2 or given.shape != shape:
        yield "columns-reversed", given[..., ::-1]
        yield "reshaped", given.reshape(shape)


def _line(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """For each column the scale and shift by least squares; a column that is the same everywhere is only shifted."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    spread = ((x - mean_x) ** 2).sum(0)
    flat = spread <= 1e-12 * np.maximum((x**2).sum(0), 1.0)
    scale = np.where(flat, 1.0, ((x - mean_x) * (y - mean_y)).sum(0) / np.where(flat, 1.0, spread))
    return scale, mean_y - scale * mean_x


def _same(a: NDArray, b: NDArray) -> bool:
    if a.shape != b.shape:
        return False
    error = np.abs(a.astype("float64") - b)
    return bool(np.max(error, initial=0.0) <= CLOSE * max(float(np.std(b)), 1e-12))
