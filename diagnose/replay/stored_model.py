"""Builds a model from the architecture stored in a trace: built-in Keras classes only, checked before anything is
built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diagnose.errors import DiagnoseError

_REFUSED = frozenset({"Lambda", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "TFSMLayer"})
"""Built-in classes that carry or load code."""


_VALUES = frozenset({"__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"})
"""Plain values that Keras's serialization marks by a class name without a module."""


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
            module, name = str(node.get("module")), str(node["class_name"])
            registered = node.get("registered_name")
            # A function of Keras is {"module": "builtins", "class_name": "function", "config": its name}.
            plain = module.split(".")[0] == "keras" or (module == "builtins" and name == "function")
            custom = registered not in (None, name) and registered != "function"
            if not (plain or name in _VALUES) or custom or name in _REFUSED:
                raise DiagnoseError(
                    f"The stored architecture holds '{name}', which is not a plain built-in Keras object; "
                    "use --model MODULE:FUNCTION."
                )
        for value in node.values():
            _check(value, depth + 1)
    elif isinstance(node, list):
        for value in node:
            _check(value, depth + 1)
