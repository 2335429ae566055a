"""Chooses the recording backend: a table of names to modules, imported when needed."""

from __future__ import annotations

import importlib
from typing import Final, cast

from diagnose.errors import DiagnoseError
from diagnose.record.backends.base import Backend, Live, Source, StepHook, Variables

BACKENDS: Final = {
    "tensorflow": "diagnose.record.backends.tensorflow",
    "jax": "diagnose.record.backends.jax",
    "torch": "diagnose.record.backends.torch",
}

__all__ = ["BACKENDS", "Backend", "Live", "Source", "StepHook", "Variables", "current_backend"]


def current_backend() -> Backend:
    """The recording backend for the backend Keras runs on in this process.

    Raises:
        DiagnoseError: Keras runs on a backend that cannot be traced.
    """
    import keras

    name = keras.config.backend()
    if name not in BACKENDS:
        raise DiagnoseError(f"Keras backend '{name}' cannot be traced; use one of {', '.join(BACKENDS)}.")
    return cast(Backend, importlib.import_module(BACKENDS[name]).BACKEND)
