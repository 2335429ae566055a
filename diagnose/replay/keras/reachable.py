"""Finds what a model's own steps may write to besides its variables: optimizers and metrics in its attributes,
variables of the backend that Keras does not track. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from diagnose.frameworks.keras.layers import model_and_layers

_MOST_ITEMS = 1000
"""Lists and dicts of more items than this hold data, not optimizers."""


def reachable_variables(model: Any) -> list[Any]:
    """The variables of everything in the attributes of the model and its layers, in containers too."""
    found: list[Any] = []
    for layer in model_and_layers(model):
        for value in list(vars(layer).values()):
            for item in _items(value, 2):
                if isinstance(item, keras.Variable) or _of_tensorflow(item):
                    found.append(item)
                elif isinstance(item, (keras.optimizers.Optimizer, keras.Metric)):
                    found.extend(item.variables)
    return found


def own_optimizers(model: Any) -> list[Any]:
    """Optimizers that a model holds and uses beside the one it was compiled with."""
    found = {
        id(item): item
        for layer in model_and_layers(model)
        for value in list(vars(layer).values())
        for item in _items(value, 2)
        if isinstance(item, keras.optimizers.Optimizer) and item is not model.optimizer and item.built
    }
    return list(found.values())


def _items(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, (list, tuple, Mapping)):
        if depth and len(value) <= _MOST_ITEMS:
            for item in value.values() if isinstance(value, Mapping) else value:
                yield from _items(item, depth - 1)
    else:
        yield value


def _of_tensorflow(value: Any) -> bool:
    """A `tf.Variable`, which a model of Keras 3 may hold and change, but does not list."""
    return type(value).__module__.startswith("tensorflow.") and hasattr(value, "assign") and hasattr(value, "numpy")
