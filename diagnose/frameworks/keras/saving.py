"""Where Keras puts each variable in a weights file: the walk of `saving_lib._save_state`, without reading a value."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diagnose.frameworks.keras.layers import own_variables
from diagnose.frameworks.keras.origin import by_keras

_OWN_ORDER = ("keras.src.layers.layer", "keras.src.layers.core.", "keras.src.layers.convolutional.")
"""Modules whose `save_own_variables` writes a layer's variables one after the other, under their number."""

_NOT_CHILDREN = frozenset(
    {
        "_layers",
        "_functional",
        "_operations",
        "operations",
        "_operations_by_depth",
        "_nodes",
        "_modules",
        "_torch_params",
    }
)


@contextmanager
def without_importing_tensorflow() -> Iterator[None]:
    """For what serializes a model. Keras asks there whether something is TensorFlow's, and on the other backends
    imports it to find out, which takes seconds and prints; of what is not imported, nothing can be there.

    Its answer is put back, so that Keras asks again when the user's code needs it. One thread at a time.
    """
    from keras.src.utils.module_utils import tensorflow as lazy

    unasked = lazy._available is None and lazy.name not in sys.modules
    if unasked:
        lazy._available = False
    try:
        yield
    finally:
        if unasked:
            lazy._available = None


def saved_places(model: Any) -> dict[int, str]:
    """id(variable) -> its path in a `.weights.h5` file ("layers/dense/vars/0").

    Variables are left out where the walk of Keras (3.8 to 3.15.1) cannot be followed without running code of others.
    """
    found: dict[int, str] = {}
    _visit(model, "", found, set())
    return found


def _visit(layer: Any, path: str, found: dict[int, str], visited: set[int]) -> None:
    if id(layer) in visited:
        return
    visited.add(id(layer))
    prefix = f"{path}/" if path else ""
    save = getattr(type(layer), "save_own_variables", None)
    if str(getattr(save, "__module__", "")).startswith(_OWN_ORDER) and not getattr(layer, "lora_enabled", False):
        made, others = own_variables(layer)
        for number, variable in enumerate([*made, *others]):
            found.setdefault(id(variable), f"{prefix}vars/{number}")
    for name, child in _children(layer):
        if _is_layer(child):
            _visit(child, prefix + name, found, visited)
        elif isinstance(child, (list, tuple, dict)):
            _visit_all(child, prefix + name, found, visited, set())


def _visit_all(container: Any, path: str, found: dict[int, str], visited: set[int], inside: set[int]) -> None:
    if id(container) in inside:
        return
    inside.add(id(container))
    used: dict[str, int] = {}
    for child in list(container.values()) if isinstance(container, dict) else list(container):
        if _is_layer(child):
            _visit(child, f"{path}/{_unique(_snake_case(type(child).__name__), used)}", found, visited)
        elif isinstance(child, (list, tuple, dict)):
            _visit_all(child, f"{path}/{_unique('container', used)}", found, visited, inside)


def _children(layer: Any) -> Iterator[tuple[str, Any]]:
    """Attributes that may hold layers, in the order in which Keras saves them."""
    from keras import Layer, Sequential
    from keras.src.models.functional import Functional

    if isinstance(layer, (Sequential, Functional)):
        yield "layers", layer.layers
    # On torch a layer is a module, which keeps layers among its attributes apart.
    names = {
        name for name in (*vars(layer), *vars(layer).get("_modules", ())) if not hasattr(Layer, name)
    } - _NOT_CHILDREN
    if not isinstance(layer, (Sequential, Functional)):
        names |= {name for name in dir(type(layer)) if not hasattr(Layer, name) and _is_plain_property(layer, name)}
    # Keras visits private attributes last.
    for name in sorted(names, key=lambda name: f"~{name}" if name.startswith("_") else name):
        if not name.startswith("__"):
            yield name, getattr(layer, name, None)


def _is_plain_property(layer: Any, name: str) -> bool:
    """Whether a property is Keras's own: those of users are not run."""
    found = next((vars(c)[name] for c in type(layer).__mro__ if name in vars(c)), None)
    return isinstance(found, property) and by_keras(found.fget)


def _is_layer(value: Any) -> bool:
    from keras import Layer

    return isinstance(value, Layer)


def _unique(name: str, used: dict[str, int]) -> str:
    used[name] = used.get(name, -1) + 1
    return f"{name}_{used[name]}" if used[name] else name


def _snake_case(name: str) -> str:
    # `keras.src.utils.naming.to_snake_case`, as in all releases of Keras 3.
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
