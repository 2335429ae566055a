"""Whether steps of a model can be trained once more with the same outcome, as far as its code and its device tell. Runs
none of the user's code.

What draws from a state outside the model's variables (NumPy's generator, TensorFlow's operations without a seed, a
clock) makes another step the second time. Code is looked through for the names of such; what is hidden deeper is found
out when a diagnosis trains the epoch again, and said then."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeGuard

from diagnose.frameworks.keras.layers import held_by, model_and_layers
from diagnose.frameworks.keras.metrics import function_of, losses_given, metrics_given
from diagnose.record.backends.base import Backend
from diagnose.record.handlers import let_through

MOST_FUNCTIONS: Final = 500
"""A model of more functions of the user's than this is not looked through; its steps are then not counted on."""

NAMES: Final = frozenset(
    {
        *("random", "rand", "randn", "randint", "randperm", "default_rng", "RandomState", "Generator", "PRNGKey"),
        *("normal_", "uniform_", "random_", "bernoulli_", "urandom", "uuid4", "secrets"),
        *("time", "perf_counter", "monotonic", "now"),
        *("numpy_function", "py_function", "py_func", "pure_callback", "io_callback"),
    }
)
"""Names that code which draws from elsewhere, or asks the host, comes to on its way there."""

LIBRARIES: Final = frozenset({"keras", "tensorflow", "jax", "torch", "numpy", "diagnose"}) | sys.stdlib_module_names
"""Whose code is not looked through: what the user's comes to there has a name, which is looked for."""


def why_not_again(model: Any, backend: Backend) -> str | None:
    """Why the steps of a fit of this model may not come out the same when they are made again
    (`tracefile.about.Policy.because`), or None."""
    try:
        if not backend.adds_in_order(model):
            return "device"
        return "own-code" if _draws(model) else None
    except Exception as error:  # a model of an unusual kind
        let_through(error)
        return "own-code"


def _draws(model: Any) -> bool:
    waiting, known = list(_functions_of(model)), set[int]()
    while waiting:
        function = waiting.pop()
        code = function.__code__
        if id(code) in known:
            continue
        known.add(id(code))
        if len(known) > MOST_FUNCTIONS:
            return True
        for inner in _codes(code):
            if _named(inner, function.__globals__):
                return True
            waiting += _called(inner, function.__globals__)
        for cell in function.__closure__ or ():
            try:
                waiting += [f for f in [cell.cell_contents] if _is_own(f)]
            except ValueError:  # not filled yet
                continue
    return False


def _functions_of(model: Any) -> Iterator[FunctionType]:
    """The user's own functions among what makes a step: methods of the model, its layers, losses, metrics and
    optimizers, and functions that stand in their place."""
    given = [*metrics_given(model), losses_given(model), getattr(model, "optimizer", None)]
    parts = [*model_and_layers(model), *held_by(model), *_flat(given)]
    for part in parts:
        if _is_own(part):
            yield part
            continue
        for inner in (getattr(part, "function", None), getattr(part, "fn", None), function_of(part)):
            if _is_own(inner):  # of a Lambda layer, of a loss, of a metric
                yield inner
        for kind in type(part).__mro__:
            if kind is not object and not _of_library(kind):
                yield from (f for f in map(_plain, vars(kind).values()) if f is not None)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for item in value.values() for x in _flat(item)]
    return [x for item in value for x in _flat(item)] if isinstance(value, (list, tuple)) else [value]


def _plain(attribute: Any) -> FunctionType | None:
    found = getattr(attribute, "__func__", attribute)
    found = getattr(found, "fget", found)
    found = inspect.unwrap(found) if callable(found) else found
    return found if isinstance(found, FunctionType) and not _of_library(found) else None


def _is_own(value: Any) -> TypeGuard[FunctionType]:
    return isinstance(value, FunctionType) and not _of_library(value)


def _of_library(thing: Any) -> bool:
    first = str(getattr(thing, "__module__", "")).partition(".")[0]
    return first in LIBRARIES and first != "__main__"


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those defined inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _called(code: CodeType, names: dict[str, Any]) -> list[FunctionType]:
    """The user's own functions that this code takes from the module it stands in."""
    return [names[name] for name in code.co_names if _is_own(names.get(name))]


def _named(code: CodeType, names: dict[str, Any]) -> bool:
    """Whether this code comes to one of the names, and not on a way through Keras: its generators keep their state in
    variables, or in one that is noted."""
    before: Any = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if not isinstance(name, str) or "CONST" in instruction.opname:
            if instruction.opname not in ("CACHE", "PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG"):
                before = None
            continue
        held = names.get(name) if "GLOBAL" in instruction.opname else None
        if isinstance(held, ModuleType) and held.__name__.startswith("keras"):
            before = "keras"
            continue
        if name in NAMES and before != "keras":
            return True
        before = "keras" if name == "keras" and before is None else name
    return False
