"""What a variable or a tensor of any backend holds, as NumPy, without the warnings that NumPy's own way sets off."""

from __future__ import annotations

from typing import Any

import numpy as np


def numpy_of(value: Any) -> np.ndarray[Any, Any]:
    """A view or a copy; a bfloat16 tensor of torch as float32."""
    if isinstance(value, np.ndarray):
        return value
    inner = getattr(value, "value", value)
    inner = inner() if callable(inner) else inner  # `tf.Variable.value()`
    if hasattr(inner, "detach"):  # torch
        inner = inner.detach().cpu()
        inner = inner.float() if "bfloat16" in str(inner.dtype) else inner
    return np.asarray(inner.numpy() if hasattr(inner, "numpy") else inner)
