"""Whether a stored architecture may be handed to Keras: every object in it must be one that is known to run and open
nothing, and stand where an object of its kind belongs.

What Keras itself guards is not relied on: `safe_mode` stops Python's lambdas only, and each release closed a way that
the one before had left open (CVE-2025-1550, -8747, -9905, -9906, -12058, -49655, CVE-2026-1462, -12480, -12481).
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final

from diagnose.frameworks.keras.stored_names import CLASSES, FUNCTIONS, LAYER, MODEL, OPERATION, OPERATIONS
from diagnose.tracefile.model import DTYPES

Places = Sequence[str]

_OBJECT_KEYS: Final = frozenset(
    {
        *("module", "class_name", "config", "registered_name", "build_config", "compile_config"),
        *("name", "inbound_nodes", "shared_object_id"),
    }
)
_VALUES: Final = frozenset({"__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"})
"""Plain values that Keras's serialization marks by a class name without a module."""

_METRICS = ("a metric", "a loss")
_COMPILE: Final[dict[str, Places]] = {
    "optimizer": ("an optimizer",),
    "loss": ("a loss",),
    "metrics": _METRICS,
    "weighted_metrics": _METRICS,
    "loss_weights": (),
    "run_eagerly": (),
    "steps_per_execution": (),
    "jit_compile": (),
    "auto_scale_loss": (),
}
_ARGUMENTS: Final[dict[str, Places]] = {
    "layers": (LAYER, MODEL, OPERATION),
    "layer": (LAYER, MODEL),
    "forward_layer": (LAYER, MODEL),
    "backward_layer": (LAYER, MODEL),
    "cell": (LAYER,),
    "cells": (LAYER,),
    "dtype": ("a dtype policy",),
    "default_policy": ("a dtype policy",),
    "policy_map": ("a dtype policy",),
    "inner_optimizer": ("an optimizer",),
    "learning_rate": ("a schedule",),
    "fn": _METRICS,
    "seed": ("a seed",),
}
_ENDINGS: Final[dict[str, Places]] = {
    "activation": ("an activation", LAYER),
    "initializer": ("an initializer",),
    "regularizer": ("a regularizer",),
    "constraint": ("a constraint",),
}
_NO_PATH: Final = frozenset({"vocabulary", "idf_weights"})
"""Arguments for which Keras takes a list, or text as the path of a file to read (on TensorFlow also of a URL)."""


class Refused(Exception):
    """Why an architecture is not built, as the end of a sentence about it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


def check(model: object, compiled: object) -> None:
    """Raises Refused if the serialized model or its compile settings hold anything but known objects of Keras, each in
    its place."""
    _value(model, (MODEL,))
    if not (isinstance(model, Mapping) and "class_name" in model):
        raise Refused("holds no model")
    _settings(compiled)


def _settings(compiled: object) -> None:
    if not isinstance(compiled, Mapping):
        raise Refused("holds no compile settings")
    for key, value in compiled.items():
        if key not in _COMPILE:
            raise Refused(f"holds the compile setting {key!r}, which is none of Keras's")
        _value(value, _COMPILE[key])


def _value(value: object, places: Places) -> None:
    """Text stands for itself: where it names a class or function, Keras looks it up among those it knows by name."""
    if isinstance(value, list):
        for item in value:
            _value(item, places)
    elif isinstance(value, Mapping):
        if "class_name" in value:
            _object(value, places)
        else:
            for item in value.values():
                _value(item, places)


def _object(node: Mapping[str, Any], places: Places) -> None:
    name, module, config = node["class_name"], node.get("module"), node.get("config")
    if not isinstance(name, str) or not set(node) <= _OBJECT_KEYS:
        raise Refused(f"holds {name!r}, which is not as Keras writes an object")
    if name in _VALUES and module is None and LAYER not in places and MODEL not in places:
        _plain_value(name, config)
    elif name == "function":
        _function(node, places)
    elif not any(_is_known(place, module, name) for place in places):
        where = f" where {' or '.join(places)} belongs" if places else " where no object belongs"
        raise Refused(f"holds {name!r}{where}, which is not a plain built-in Keras object")
    elif node.get("registered_name") not in (None, name):
        raise Refused(f"holds {name!r} under the name of a custom object, {node.get('registered_name')!r}")
    elif not isinstance(config, Mapping) or "class_name" in config:
        raise Refused(f"holds {name!r} without its settings")
    else:
        for key, value in config.items():
            _argument(name, key, value)
        _value(node.get("build_config"), ())
        if node.get("compile_config") is not None:
            _settings(node["compile_config"])
        for call in _list(node.get("inbound_nodes", [])):
            if not isinstance(call, Mapping) or not set(call) <= {"args", "kwargs"}:
                raise Refused(f"calls {name!r} in a way that Keras does not write")
            _value(list(call.values()), ("a tensor",))


def _is_known(place: str, module: object, name: str) -> bool:
    if place == "a tensor":
        return module is None and name == "__keras_tensor__"
    if not isinstance(module, str):
        return False
    if place == OPERATION:
        return module in OPERATIONS and _is_operation(module, name, OPERATIONS[module])
    return name in CLASSES.get(place, {}).get(module, ())


def _is_operation(module: str, name: str, listed: frozenset[str] | None) -> bool:
    """Operations are exported under no name: Keras looks for them in the module named, which holds much else."""
    if listed is not None:
        return name in listed
    import keras

    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:  # a release without this module
        return False
    return isinstance(found, type) and issubclass(found, keras.Operation) and found.__module__ == module


def _function(node: Mapping[str, Any], places: Places) -> None:
    name, module = node.get("config"), node.get("module")
    if not isinstance(name, str):
        raise Refused("holds a function without a name")
    for place in places:
        for exported_by, names in FUNCTIONS.get(place, {}).items():
            # Keras writes its own functions with the module "builtins", and looks there too if it knows no such name.
            known = module in ("builtins", exported_by) and name in names
            if known and node.get("registered_name") in (None, name, "function"):
                if isinstance(getattr(importlib.import_module(exported_by), name, None), types.FunctionType):
                    return
                raise Refused(f"holds the function {name!r}, which this release of Keras does not have")
    raise Refused(f"holds the function {name!r}, which is not one of Keras's own that may stand there")


def _argument(owner: str, key: str, value: object) -> None:
    if key in _NO_PATH and not (value is None or isinstance(value, list)):
        raise Refused(f"has {owner!r} read its {key} from elsewhere")
    if key == "layers" and not all(isinstance(item, Mapping) and "class_name" in item for item in _list(value)):
        raise Refused(f"has {owner!r} made of what are no layers")
    places = _ARGUMENTS.get(key, ())
    for ending, kinds in _ENDINGS.items():
        if key.endswith(ending):
            places = kinds
    _value(value, places)


def _plain_value(name: str, config: object) -> None:
    _value(config, ())
    dtype = config.get("dtype") if isinstance(config, Mapping) else None
    if name in ("__tensor__", "__numpy__") and dtype not in (*DTYPES, "string"):
        raise Refused(f"holds an array of dtype {dtype!r}")


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Refused("holds something else where a list belongs")
    return value
