"""Where one pass through a Keras model makes a number that is not finite: in which layer, or only in the loss, and of
which rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import numpy as np

from diagnose.frameworks.keras.contents import numpy_of
from diagnose.frameworks.keras.layers import layers_of, takes_training
from diagnose.frameworks.keras.trainers import compute_loss
from diagnose.replay.engine import NotFinite
from diagnose.replay.keras.forward import calls_wrapped
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.replicas import part

MOST_ROWS: Final = 256
"""Rows whose own loss is looked at, one by one."""


def not_finite(
    model: Any, variables: Sequence[Any], values: Sequence[Any], x: Any, y: Any, sample_weight: Any, rows: int
) -> NotFinite:
    """One pass in training mode, with these values of the variables, which stay as they are."""
    first: list[NotFinite] = []

    def watched(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any, **kwargs: Any) -> Any:
            found = call(*args, **kwargs)
            if not first and _bad(found) is not None and _bad((args, kwargs)) is None:
                bad = _bad(found)
                first.append(NotFinite("layer", () if bad is None else bad, layer.name, type(layer).__name__))
            return found

        return watching

    with keras.StatelessScope(list(zip(variables, values, strict=True)), collect_losses=True):
        with calls_wrapped([(layer, watched) for layer in layers_of(model)]):
            outputs = model(x, training=True) if takes_training(model) else model(x)
        if first or _bad(outputs) is not None:
            return first[0] if first else NotFinite("layer", _bad(outputs) or ())

        def loss(start: int, stop: int) -> bool:
            some = [part(tree, start, stop) for tree in (x, y, outputs, sample_weight)]
            value = compute_loss(model, x=some[0], y=some[1], y_pred=some[2], sample_weight=some[3], training=True)
            return value is None or _bad(value) is None

        if loss(0, rows):
            return NotFinite("update")
        bad = [i for i in range(min(rows, MOST_ROWS)) if not loss(i, i + 1)]
        held = [_array(leaf) for leaf in keras.tree.flatten(outputs)]
        zeros = bool(bad) and all(any((a[i] == 0).any() for a in held if len(a) > i) for i in bad)
        return NotFinite("loss", tuple(bad), zeros=zeros)


def _bad(tree: Any) -> tuple[int, ...] | None:
    """Rows with a number that is not finite in any of these arrays; None where all are finite."""
    rows: set[int] = set()
    found = False
    for leaf in keras.tree.flatten(tree):
        if not keras.ops.is_tensor(leaf) and not isinstance(leaf, np.ndarray):
            continue
        array = _array(leaf)
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        found = True
        if array.ndim:
            rows |= set(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).tolist())
    return tuple(sorted(rows)) if found else None


def _array(tensor: Any) -> NDArray:
    array = numpy_of(tensor)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)  # bfloat16
