"""Numbers outside the model's variables that its loss, metrics, own layers or callbacks hold, and that may change while
it trains: a variable, or a plain number. Found by looking at attributes, closures and global names; nothing is called
and nothing is changed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from diagnose.frameworks.keras.layers import model_and_layers
from diagnose.frameworks.keras.metrics import function_of, metrics_given
from diagnose.frameworks.keras.optimizers import variables_of
from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json

MOST_HOLDERS: Final = 256
MOST_EVENTS: Final = 2000
"""What changes with every epoch of a long fit is told of the first ones."""

Tell = Callable[[str, Mapping[str, Json]], None]


class Outside:
    """Looks at these numbers between steps, and tells which changed since the last look."""

    def __init__(self, model: Any, callbacks: Sequence[Any], tell: Tell) -> None:
        self._tell = tell
        self._told = 0
        self._holders: list[tuple[str, Any]] = []
        self._own: set[int] = set()
        self._known: dict[tuple[str, str], float] = {}
        try:
            self._holders = list(_holders(model, callbacks))[:MOST_HOLDERS]
            self._own = {id(v) for v in _variables(model)}
        except Exception as error:  # whatever stands in objects of the user's
            let_through(error)

    def look(self) -> None:
        """One event `outside-changed` for each number that is another than at the last look."""
        for of, holder in self._holders:
            try:
                for name, value in _numbers(holder, self._own):
                    before = self._known.get((of, name))
                    if before is not None and before != value and self._told < MOST_EVENTS:
                        self._told += 1
                        self._tell("outside-changed", {"of": of, "name": name, "before": before, "after": value})
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
    for layer in model_and_layers(model):
        if not by_keras(type(layer)):
            yield f"layer '{layer.name}'", layer
    for cb in callbacks:
        if not by_keras(type(cb)):
            yield type(cb).__name__, _VariablesOnly(cb)


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


def _numbers(holder: Any, own: set[int]) -> Iterator[tuple[str, float]]:
    if isinstance(holder, _VariablesOnly):
        held = dict(getattr(holder.callback, "__dict__", {}))
        yield from ((n, v) for n, x in held.items() if (v := _of_variable(x, own)) is not None)
        return
    for name, value in _held(holder):
        number = _number(value, own)
        if number is not None:
            yield name, number
        elif not by_keras(type(value)) and not isinstance(value, type) and not inspect.isroutine(value):
            # An object that holds settings; not its objects' objects.
            inner = getattr(value, "__dict__", None)
            if isinstance(inner, dict) and not inspect.ismodule(value) and len(inner) <= 64:
                for part, x in list(inner.items()):
                    found = None if part.startswith("_") else _number(x, own)
                    if found is not None:
                        yield f"{name}.{part}", found


def _held(holder: Any) -> list[tuple[str, Any]]:
    """What a function takes from outside, or an object has."""
    function = inspect.unwrap(getattr(holder, "__func__", holder)) if callable(holder) else holder
    code = getattr(function, "__code__", None)
    if code is None:
        return [(n, v) for n, v in list(getattr(holder, "__dict__", {}).items()) if not n.startswith("_")]
    found = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # not set yet
            continue
    names = function.__globals__
    found += [(name, names[name]) for name in code.co_names if name in names]
    bound = getattr(holder, "__self__", None)
    return found + ([] if bound is None or inspect.ismodule(bound) else [("self", bound)])


def _number(value: Any, own: set[int]) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(float(value))
    return _of_variable(value, own)


def _of_variable(value: Any, own: set[int]) -> float | None:
    """The value of a variable of one number that is not the model's."""
    if not callable(getattr(value, "assign", None)) or id(value) in own:
        return None
    if tuple(getattr(value, "shape", (0,))) != ():
        return None
    held = getattr(value, "value", value)  # through NumPy, Keras's variables set off warnings
    return _finite(float(held() if callable(held) else held))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
