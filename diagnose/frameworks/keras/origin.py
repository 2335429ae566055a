"""Tells what is Keras's own from what is the user's."""

from __future__ import annotations

from typing import Any


def by_keras(thing: Any) -> bool:
    """Whether a class, function or method was defined by Keras, as its module says."""
    return str(getattr(thing, "__module__", "")).startswith("keras.")


def step_by_keras(model: Any, method: str) -> bool:
    """Whether the model's class has Keras's own `train_step`, `test_step`, `compute_loss` or `call`."""
    return by_keras(getattr(type(model), method))
