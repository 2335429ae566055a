"""Keras's variables on torch (`keras/src/backend/torch/core.py`)."""

from __future__ import annotations

from typing import Any


def value_of(variable: Any) -> Any:
    """The tensor that a variable holds, without what `Variable.value` does beside: it is asked for at each step."""
    return variable._value
