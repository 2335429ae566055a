"""Chooses the replay backend: a table of names to modules, imported when needed."""

from __future__ import annotations

import importlib
from typing import Final, cast

from diagnose.errors import ReplayError
from diagnose.replay.keras.backends.base import ReplayBackend

BACKENDS: Final = {
    "tensorflow": "diagnose.replay.keras.backends.tensorflow",
    "jax": "diagnose.replay.keras.backends.jax",
    "torch": "diagnose.replay.keras.backends.torch",
}

__all__ = ["BACKENDS", "ReplayBackend", "current_backend"]


def current_backend() -> ReplayBackend:
    """The replay backend for the backend Keras runs on. Raises ReplayError for one that is not known."""
    import keras

    name = keras.config.backend()
    if name not in BACKENDS:
        raise ReplayError(f"Replay is not possible on the Keras backend '{name}'.")
    return cast(ReplayBackend, importlib.import_module(BACKENDS[name]).BACKEND)
