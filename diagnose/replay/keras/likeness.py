"""Whether a model is still what it was: all that Python code which runs while a step is compiled could see of it.

What was compiled for a model may be used again only where compiling it anew would give the same. So everything that is
reachable from the model is looked at: numbers, texts and arrays by value, other objects by being the same one, the
user's functions and classes with the globals and closures that they name. Contents of variables do not count, as they
are arguments of what is compiled. Where something cannot be looked at, or there is too much of it, the answer is that
nothing is known, and nothing is used again.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
import weakref
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, Final

import keras
import numpy as np

from diagnose.frameworks.keras.trainers import MOVED_BY_A_CALL
from diagnose.tracefile.digest import array_digest

MOST_OBJECTS: Final = 200_000
MOST_BYTES: Final = 64 << 20
"""Of arrays, whose contents are digested."""

_PLAIN: Final = (type(None), bool, int, str, bytes, type(Ellipsis), type(NotImplemented), range, slice, np.dtype)
_OPAQUE: Final = frozenset({"tensorflow", "jax", "jaxlib", "ml_dtypes", "numpy", "torch", "wrapt", "optree", "h5py"})
"""Whose objects do not change, or not what a step is compiled to: tensors, strategies, random generators."""

_LIBRARIES: Final = (_OPAQUE | {"keras", "diagnose"} | sys.stdlib_module_names) - {"__main__"}
"""Whose classes and functions nobody changes while a process runs."""

_METHODS: Final = (
    "__call__", "call", "update_state", "reset_state", "result", "train_step", "test_step", "compute_loss",
    "compute_metrics", "get_metrics_result",
)  # fmt: skip
"""Methods that are looked at in a library's class too: a user may have put another function there."""


_MOVED: Final = (*MOVED_BY_A_CALL, "stop_predicting")
_OF_A_CLASS: Final = (types.FunctionType, property, classmethod, staticmethod)
_BUILT_IN: Final = (
    types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, types.MethodWrapperType,
    types.ClassMethodDescriptorType, types.MemberDescriptorType, types.GetSetDescriptorType,
)  # fmt: skip
_BOOKS: Final = ("__dict__", "__weakref__", "__doc__", "__abstractmethods__", "_abc_impl")


class _Same:
    """An object that must still be the very same one."""

    __slots__ = ("_ref",)

    def __init__(self, thing: Any) -> None:
        self._ref = weakref.ref(thing)

    def __eq__(self, other: object) -> bool:
        own = self._ref()
        return own is not None and isinstance(other, _Same) and other._ref() is own

    __hash__ = None  # type: ignore[assignment]


class _Unknown(Exception):
    """Something that cannot be looked at."""


def likeness(model: Any) -> list[Any] | None:
    """What to hold against the likeness of another time by `==`: equal where a compiler would see the same. None: that
    cannot be told. Holds nothing of the model."""
    walk = _Walk()
    try:
        walk.settings()
        walk.see(model)
        walk.all()
    except _Unknown:
        return None
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found: list[Any] = []
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no address is given out twice while we look
        self._todo: deque[Any] = deque()  # no recursion: layers lead to the next ones
        self._bytes = 0

    def settings(self) -> None:
        """What layers, losses and metrics read of Keras itself."""
        config = keras.config
        policy = keras.dtype_policies.get(keras.config.dtype_policy())
        self.found += [config.floatx(), config.epsilon(), config.image_data_format(), policy.name]
        flash = getattr(config, "is_flash_attention_enabled", None)  # Keras 3.9
        self.found.append(None if flash is None else flash())
        distribution = keras.distribution.distribution()
        self.found.append(None if distribution is None else self._same(distribution))

    def see(self, thing: Any) -> None:
        found = self.found
        if isinstance(thing, _PLAIN) and not isinstance(thing, enum.Enum):
            found.append((type(thing).__name__, repr(thing) if isinstance(thing, slice) else thing))
            return
        if isinstance(thing, (float, complex, np.generic)):
            found.append((type(thing).__name__, repr(thing)))  # NaN is NaN
            return
        if id(thing) in self._places:
            found.append(("again", self._places[id(thing)]))
            return
        if len(found) > MOST_OBJECTS:
            raise _Unknown
        self._places[id(thing)] = len(self._places)
        self._alive.append(thing)
        found.append(type(thing).__name__)
        self._todo.append(thing)

    def all(self) -> None:
        """Looks at what was seen, and at what is seen by that."""
        while self._todo:
            self._look(self._todo.popleft())

    def _look(self, thing: Any) -> None:
        if isinstance(thing, np.ndarray):
            self._array(thing)
        elif isinstance(thing, keras.Variable):
            self.found += [self._same(thing), thing.trainable, str(thing.dtype), tuple(thing.shape)]
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, types.ModuleType):
            self.found.append(self._same(thing))
        elif isinstance(thing, types.FunctionType):
            self._function(thing)
        elif isinstance(thing, types.MethodType):
            self.see(thing.__func__)
            self.see(thing.__self__)
        elif isinstance(thing, functools.partial):
            for part in (thing.func, thing.args, thing.keywords):
                self.see(part)
        elif isinstance(thing, (property, classmethod, staticmethod)):
            for name in ("fget", "fset", "__func__"):
                self.see(getattr(thing, name, None))
        else:
            self._object(thing)

    def _object(self, thing: Any) -> None:
        """Any other: its items, if it is a container, and what its attributes hold."""
        kind, items = type(thing), _items(thing)
        attributes = getattr(thing, "__dict__", None)
        slots = [name for each in kind.__mro__ for name in _slots(each)]
        if items is not None:
            self.found.append(len(items))
            for item in items:
                self.see(item)
        elif kind.__weakrefoffset__:
            self.found.append(self._same(thing))
        elif isinstance(thing, _BUILT_IN):
            self.found.append(repr(thing))
            return
        elif not slots and attributes is None:
            raise _Unknown
        if _top(kind.__module__) in _OPAQUE:  # a tensor, a strategy: the same one is enough
            return
        self.see(kind)
        left_out = _MOVED if isinstance(thing, keras.Model) else ()
        for name, value in list(attributes.items()) if isinstance(attributes, dict) else ():
            if name not in left_out and not name.startswith("_self_"):  # TensorFlow's own books
                self.found.append(name)
                self.see(value)
        for name in slots:
            self.found.append(name)
            self.see(getattr(thing, name, None))

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self._bytes += array.nbytes
        if array.dtype.hasobject or self._bytes > MOST_BYTES:
            raise _Unknown
        self.found.append(array_digest(array))

    def _class(self, kind: type) -> None:
        self.found.append(self._same(kind))
        for each in kind.__mro__:
            library = _of_library(each.__module__)
            for name in _METHODS if library else tuple(vars(each)):
                value = vars(each).get(name)
                if isinstance(value, _OF_A_CLASS) or not (library or name in _BOOKS or isinstance(value, _BUILT_IN)):
                    self.found.append(name)
                    self.see(value)

    def _function(self, function: types.FunctionType) -> None:
        self.found += [self._same(function), self._same(function.__code__)]
        if _of_library(function.__module__):
            return
        for part in (function.__defaults__, function.__kwdefaults__):
            self.see(part)
        names = _names_in(function.__code__)
        held = [function.__globals__[name] for name in sorted(names & function.__globals__.keys())]
        for cell in function.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:
                self.found.append("empty")
        modules: list[types.ModuleType] = []
        while held:
            thing = held.pop()
            self.see(thing)
            # A module of the user's: what the function may take from it.
            if isinstance(thing, types.ModuleType) and thing not in modules and not _of_library(thing.__name__):
                modules.append(thing)
                held += [vars(thing)[name] for name in sorted(names & vars(thing).keys())]

    def _same(self, thing: Any) -> _Same:
        try:
            return _Same(thing)
        except TypeError:
            raise _Unknown from None


def _items(thing: Any) -> list[Any] | None:
    """What a container holds, in an order that its contents alone decide; None for what is none."""
    if isinstance(thing, Mapping):
        return [part for pair in thing.items() for part in pair]
    if isinstance(thing, (set, frozenset)):
        # Sets of objects come in the order of their addresses, which stays while they live.
        return sorted(thing, key=lambda item: (type(item).__name__, item if isinstance(item, str) else str(id(item))))
    if isinstance(thing, (list, tuple)) or (isinstance(thing, Collection) and type(thing).__module__ == "collections"):
        return list(thing)
    return None


def _slots(kind: type) -> tuple[str, ...]:
    names = vars(kind).get("__slots__", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    own = kind.__name__.lstrip("_")
    return tuple(
        f"_{own}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    )


def _top(module: str | None) -> str:
    return str(module or "").partition(".")[0]


def _of_library(module: str | None) -> bool:
    return _top(module) in _LIBRARIES


def _names_in(code: types.CodeType) -> frozenset[str]:
    inner = (_names_in(part) for part in code.co_consts if isinstance(part, types.CodeType))
    return frozenset(code.co_names).union(*inner)
