"""Builds a model from the architecture stored in a trace: built-in Keras classes only, checked before anything is
built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diagnose.errors import DiagnoseError

_REFUSED = frozenset({"Lambda", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"})
"""Built-in classes that carry or load code."""


def build(info: Mapping[str, Any]) -> Any:
    """The compiled model of a trace.

    Raises:
        DiagnoseError: the trace stores none, or it holds anything but built-in Keras objects.
    """
    stored = (info.get("model") or {}).get("architecture")
    if not stored or not stored.get("compile"):
        raise DiagnoseError("This trace stores no architecture that can be built; use --model MODULE:FUNCTION.")
    _check(stored)
    import keras

    try:
        model = keras.models.model_from_json(json.dumps(stored["model"]))
        model.compile_from_config(stored["compile"])
    except Exception as error:
        raise DiagnoseError(f"The stored architecture cannot be built ({type(error).__name__}: {error}).") from error
    return model


def _check(node: Any, depth: int = 0) -> None:
    """Every serialized object must be one of Keras's own, registered under no foreign name, and none that carries
    code."""
    if depth > 200:
        raise DiagnoseError("The stored architecture is nested too deeply.")
    if isinstance(node, Mapping):
        if "class_name" in node:
            module, name = node.get("module"), str(node["class_name"])
            # A plain function is {"class_name": "function", "config": "name"}: only Keras's own are looked up by that
            # name.
            foreign = not (module is None or module == "builtins" or str(module).split(".")[0] == "keras")
            custom = node.get("registered_name") not in (None, name) and not str(
                node.get("registered_name")
            ).startswith("keras>")
            if foreign or custom or name in _REFUSED or (module == "builtins" and name != "function"):
                raise DiagnoseError(
                    f"The stored architecture holds '{name}', which is not a plain built-in Keras object; "
                    "use --model MODULE:FUNCTION."
                )
        for value in node.values():
            _check(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            _check(value, depth + 1)
