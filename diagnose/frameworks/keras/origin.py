"""Tells what is Keras's own from what is the user's."""

from __future__ import annotations

import os
from typing import Any


def by_keras(thing: Any) -> bool:
    """Whether a class, function or method was defined by Keras, as its module says."""
    return str(getattr(thing, "__module__", "")).startswith("keras.")


def step_by_keras(model: Any, method: str) -> bool:
    """Whether the model's class has Keras's own `train_step`, `test_step`, `compute_loss` or `call`."""
    return by_keras(getattr(type(model), method))


def code_by_keras(function: Any) -> bool:
    """Whether the function that runs is Keras's own, and no other tool's in its place: those take over its module's
    name, but not its code's file."""
    import keras

    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(os.path.dirname(keras.__file__) + os.sep)
