"""Gives layers the `trainable` flags that the traced fit's steps ran with, and back those they have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from diagnose.trace.model import Json
from diagnose.trace.reader import Trace


@contextlib.contextmanager
def layers_as_recorded(model: Any, trace: Trace) -> Iterator[None]:
    """Within: every layer's flag is the recorded one; batch normalization that was frozen only after the step was made
    is trainable, as in the steps, which its moving averages show. Old traces hold no flags: nothing is changed.

    Sets the flag of the layer alone: setting the property would change those of its variables and of inner layers.
    """
    recorded = (trace.info.get("model") or {}).get("layers") or []
    layers = model._flatten_layers(include_self=False)
    found: list[tuple[Any, bool]] = []
    try:
        if len(layers) == len(recorded):
            for layer, seen in zip(layers, recorded, strict=True):
                if "trainable" in seen and hasattr(layer, "_trainable"):
                    wanted = bool(seen["trainable"]) or _moved(trace, seen)
                    if layer._trainable != wanted:
                        found.append((layer, layer._trainable))
                        object.__setattr__(layer, "_trainable", wanted)
        yield
    finally:
        for layer, flag in found:
            object.__setattr__(layer, "_trainable", flag)


def _moved(trace: Trace, layer: Mapping[str, Json]) -> bool:
    """Whether steps changed the moving averages of a batch normalization layer."""
    if layer.get("kind") != "batch-norm":
        return False
    for step in trace.steps[:2]:
        before, after = trace.index.computed_with(step), trace.index.produced_by(step)
        if before is not None and after is not None:
            return any(before.arrays[i] != after.arrays[i] for i in layer.get("statistics", ()))
    return False
