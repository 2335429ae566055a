"""Gives layers and variables the `trainable` flags that the traced fit's steps ran with, and back those they have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from diagnose.frameworks.keras.layers import flag, layers_of, set_flag
from diagnose.tracefile.about import Layer
from diagnose.tracefile.reader import Trace


@contextlib.contextmanager
def layers_as_recorded(model: Any, trace: Trace) -> Iterator[None]:
    """Within: every layer's and every variable's flag is the recorded one; batch normalization that was frozen only
    after the step was made is trainable, as in the steps, which its moving averages show. Old traces hold no flags of
    layers: those are left.

    Sets the flag of the layer alone: setting the property would change those of its variables and of inner layers.
    """
    with contextlib.ExitStack() as stack:
        _variables_as_recorded(model, trace, stack)
        _layers_as_recorded(model, trace, stack)
        yield


def _variables_as_recorded(model: Any, trace: Trace, stack: contextlib.ExitStack) -> None:
    """What is trained is `model.trainable_variables`: nothing of a model that is frozen itself, else the variables with
    the flag."""
    recorded = trace.header.variables
    trained = [v.group == "trainable" for v in recorded if v.group in ("trainable", "non_trainable", "seed")]
    variables = list(model.variables)
    if len(trained) != len(variables):
        return
    if any(trained) and not flag(model):
        _set_flag(model, True, stack)
    for variable, wanted in zip(variables, trained, strict=True):
        own = bool(variable.trainable)
        if own != wanted:
            variable.trainable = wanted
            stack.callback(setattr, variable, "trainable", own)


def _set_flag(layer: Any, wanted: bool, stack: contextlib.ExitStack) -> None:
    stack.callback(set_flag, layer, flag(layer))
    set_flag(layer, wanted)


def _layers_as_recorded(model: Any, trace: Trace, stack: contextlib.ExitStack) -> None:
    recorded = trace.header.model.layers
    layers = layers_of(model)
    if len(layers) != len(recorded):
        return
    for layer, seen in zip(layers, recorded, strict=True):
        if seen.trainable is not None:
            wanted = seen.trainable or _moved(trace, seen)
            if flag(layer) != wanted:
                _set_flag(layer, wanted, stack)


def _moved(trace: Trace, layer: Layer) -> bool:
    """Whether steps changed the moving averages of a batch normalization layer."""
    if layer.kind != "batch-norm":
        return False
    for step in trace.steps[:2]:
        before, after = trace.index.computed_with(step), trace.index.produced_by(step)
        if before is not None and after is not None:
            return any(before.arrays[i] != after.arrays[i] for i in layer.statistics)
    return False
