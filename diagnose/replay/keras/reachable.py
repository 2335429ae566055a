"""Finds what a model's own steps may write to besides its variables: optimizers and metrics in its attributes,
variables of the backend that Keras does not track. Reads only."""

from __future__ import annotations

from typing import Any

import keras

from diagnose.frameworks.keras.layers import held_by


def reachable_variables(model: Any) -> list[Any]:
    """The variables of everything in the attributes of the model and its layers, in containers too."""
    found: list[Any] = []
    for item in held_by(model):
        if isinstance(item, keras.Variable) or _of_tensorflow(item):
            found.append(item)
        elif isinstance(item, (keras.optimizers.Optimizer, keras.Metric)):
            found.extend(item.variables)
    return found


def _of_tensorflow(value: Any) -> bool:
    """A `tf.Variable`, which a model of Keras 3 may hold and change, but does not list."""
    return type(value).__module__.startswith("tensorflow.") and hasattr(value, "assign") and hasattr(value, "numpy")
