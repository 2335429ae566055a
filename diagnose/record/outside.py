"""Numbers outside the model's variables that its loss, metrics, layers or callbacks hold, and that may change while it
trains: in variables, plain numbers, small arrays and dicts. Found by looking at attributes, closures and global names;
nothing is called and nothing is changed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np

from diagnose.frameworks.keras.contents import numpy_of
from diagnose.frameworks.keras.layers import model_and_layers
from diagnose.frameworks.keras.metrics import function_of, metrics_given, settings_of
from diagnose.frameworks.keras.optimizers import variables_of
from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json

MOST_HOLDERS: Final = 256
MOST_PARTS: Final = 64
"""Elements of an array, entries of a dict, or attributes of an object, that are looked at; of more, none is."""
MOST_EVENTS: Final = 2000
"""What changes with every epoch of a long fit is told of the first ones."""

TRAINABLE: Final = "trainable"
"""A layer's flag, as 0 or 1."""

Tell = Callable[[str, Mapping[str, Json]], None]


class Outside:
    """Looks at these numbers between steps, and tells which changed since the last look."""

    def __init__(self, model: Any, callbacks: Sequence[Any], tell: Tell) -> None:
        self._tell = tell
        self._told = 0
        self._holders: list[tuple[str, Any]] = []
        self._own: set[int] = set()
        self._ids: set[int] = set()
        self._known: dict[tuple[str, str], float] = {}
        try:
            self._holders = list(_holders(model, callbacks))[:MOST_HOLDERS]
            self._own = {id(v) for v in _variables(model)}
            self._ids = {id(holder) for _, holder in self._holders}
        except Exception as error:  # whatever stands in objects of the user's
            let_through(error)

    def look(self) -> None:
        """One event `outside-changed` for each number that is another than at the last look."""
        for of, holder in self._holders:
            try:
                for name, value, plain in _numbers(holder, self._own, self._ids):
                    before = self._known.get((of, name))
                    if before is not None and before != value and self._told < MOST_EVENTS:
                        self._told += 1
                        detail = {"of": of, "name": name, "before": before, "after": value, "plain": plain}
                        self._tell("outside-changed", detail)
                    self._known[of, name] = value
            except Exception as error:
                let_through(error)


def _variables(model: Any) -> Iterator[Any]:
    yield from model.variables
    yield from model.metrics_variables
    yield from variables_of(model)


def _holders(model: Any, callbacks: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """What to look into, with a name for people."""
    for loss in _flat(getattr(model, "loss", None)):
        yield _name(loss, "the loss"), loss
    for metric in _flat(metrics_given(model)):
        yield _name(metric, "a metric"), function_of(metric) or metric
    layers = model_and_layers(model)
    own = [layer for layer in layers if not by_keras(type(layer))]
    yield from ((f"layer '{layer.name}'", layer) for layer in own)
    for cb in callbacks:
        if not by_keras(type(cb)):
            yield type(cb).__name__, _VariablesOnly(cb)
    yield from ((f"layer '{layer.name}'", layer) for layer in layers if by_keras(type(layer)))


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        for part in given:
            yield from _flat(part)
    elif given is not None and not isinstance(given, str):
        yield given


def _name(of: Any, kind: str) -> str:
    name = getattr(of, "__name__", None) or getattr(of, "name", None) or type(of).__name__
    return f"{kind} '{str(name)[:60]}'"


class _VariablesOnly:
    """A callback: its plain numbers change all the time, and no step sees them."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback


Number = tuple[str, float, bool]
"""Name, value, and whether it is plain: a compiled step may have taken it in as a constant."""


def _numbers(holder: Any, own: set[int], others: set[int]) -> Iterator[Number]:
    """`own`: ids of the model's variables; `others`: of what is looked into by itself."""
    if isinstance(holder, _VariablesOnly):
        for name, value in list(getattr(holder.callback, "__dict__", {}).items()):
            if _is_variable(value):
                yield from _of(name, value, own)
        return
    if isinstance(holder, keras.layers.Layer):
        yield TRAINABLE, float(holder.trainable), True
    for name, value in taken_from_outside(holder):
        yield from _of(name, value, own)
        if by_keras(type(holder)) or id(value) in others:
            continue
        if isinstance(value, Mapping) and len(value) <= MOST_PARTS:
            for key, x in list(value.items()):
                yield from _of(f"{name}[{key!r:.40}]", x, own)
        elif not by_keras(type(value)) and not isinstance(value, type) and not inspect.isroutine(value):
            # An object that holds settings; not its objects' objects.
            inner = getattr(value, "__dict__", None)
            if isinstance(inner, dict) and not inspect.ismodule(value) and len(inner) <= MOST_PARTS:
                for part, x in list(inner.items()):
                    yield from () if part.startswith("_") else _of(f"{name}.{part}", x, own)


def taken_from_outside(holder: Any) -> list[tuple[str, Any]]:
    """What a function takes from outside, or an object has and its methods take from outside, by name."""
    function = inspect.unwrap(getattr(holder, "__func__", holder)) if callable(holder) else holder
    if getattr(function, "__code__", None) is not None:
        bound = getattr(holder, "__self__", None)
        return _of_function(function) + ([] if bound is None or inspect.ismodule(bound) else [("self", bound)])
    # What is Keras's own stands in a layer's private names.
    private = not isinstance(holder, (keras.layers.Layer, keras.metrics.Metric))
    found = [
        (name, value)
        for name, value in list(getattr(holder, "__dict__", {}).items())
        if not name.startswith("_") or (private and isinstance(value, float))
    ]
    found += list(settings_of(holder).items())
    known = {name for name, _ in found}
    for cls in type(holder).__mro__:
        for method in [] if by_keras(cls) or cls is object else list(vars(cls).values()):
            if inspect.isfunction(method) and method.__module__ == cls.__module__:
                found += [(n, x) for n, x in _of_function(inspect.unwrap(method)) if n not in known]
    return found


def _of_function(function: Any) -> list[tuple[str, Any]]:
    found, code = [], function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # not set yet
            continue
    names = function.__globals__
    return found + [(name, names[name]) for name in code.co_names if name in names]


def _of(name: str, value: Any, own: set[int]) -> Iterator[Number]:
    """The number, or the numbers of a small array."""
    if isinstance(value, bool):
        return
    plain = not _is_variable(value)
    if isinstance(value, (int, float)):
        held: Any = np.asarray(value, float)
    elif isinstance(value, (np.ndarray, np.number)):
        held = np.asarray(value)
    elif plain or id(value) in own or math.prod(getattr(value, "shape", (MOST_PARTS + 1,))) > MOST_PARTS:
        return
    else:
        held = numpy_of(value)
    if held.dtype.kind not in "fiu" or held.size > MOST_PARTS:
        return
    for place, number in np.ndenumerate(held):
        if math.isfinite(number):
            yield f"{name}[{', '.join(map(str, place))}]" if place else name, float(number), plain


def _is_variable(value: Any) -> bool:
    return callable(getattr(value, "assign", None)) and hasattr(value, "shape")
