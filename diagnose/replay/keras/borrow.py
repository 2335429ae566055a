"""Borrows the user's model for replay and gives it back exactly as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.layers import losses_put_back, model_and_layers
from diagnose.frameworks.keras.model_state import state_variables
from diagnose.frameworks.keras.optimizers import variables_of
from diagnose.frameworks.keras.seeds import global_seed_apart
from diagnose.frameworks.keras.trainers import FUNCTIONS, MOVED_BY_A_CALL
from diagnose.replay.keras.backends import ReplayBackend, current_backend
from diagnose.replay.keras.reachable import reachable_variables
from diagnose.result.problems import described
from diagnose.tracefile.model import NDArray

_MISSING = object()


@contextlib.contextmanager
def borrowed(model: Any, compiled: Mapping[str, Any]) -> Iterator[None]:
    """Within: the model as it was compiled for the traced fit. After, however it ends: every variable, metric, function
    and flag as before.

    Args:
        compiled: what `compile` made for that fit (see `trainers.COMPILED` of `diagnose.frameworks.keras`); empty for a
        model that is still compiled as it was.

    Raises:
        ReplayError: on leaving, something could not be put back; all the rest was.
    """
    failed: list[str] = []
    with contextlib.ExitStack() as stack:

        def later(undo: Callable[[], None]) -> None:
            """Undoes one thing on leaving; one that fails keeps no other from being undone."""
            stack.callback(_tried, undo, failed)

        for name in MOVED_BY_A_CALL:
            later(_setting(model, name))
        training = getattr(model, "training", None)  # torch.nn.Module
        if isinstance(training, bool):
            later(lambda: None if model.training == training else model.train(training))
        for layer in model_and_layers(model):
            later(losses_put_back(layer))
        _borrow_parts(model, compiled, later)
        # Last, so that they are put back first, by way of the parts they were borrowed with.
        _borrow_contents(model, later)
        stack.enter_context(current_backend().generators_apart())
        stack.enter_context(global_seed_apart())
        yield
    if failed:
        raise ReplayError(f"after the analysis, not all of the model could be put back as it was: {failed[0]}")


Later = Callable[[Callable[[], None]], None]


def _tried(undo: Callable[[], None], failed: list[str]) -> None:
    try:
        undo()
    except Exception as error:
        failed.append(described(error))


def _borrow_parts(model: Any, compiled: Mapping[str, Any], later: Later) -> None:
    parts = dict(compiled)
    unused = _unused_optimizer(parts.get("optimizer", model.optimizer))
    if unused is not None:
        parts["optimizer"] = unused
    again = False
    for name, part in parts.items():
        current = getattr(model, name, None)
        if current is part:
            continue
        again = again or part is not unused
        later(_setting(model, name, raw=True))
        # Not by setattr: a Keras model keeps every metric that is set on it, and would report it from then on.
        object.__setattr__(model, name, part)
    if again:
        # Compiled again since: the functions at hand update the new metrics.
        for name in FUNCTIONS:
            setattr(model, name, None)


def _unused_optimizer(optimizer: Any) -> Any:
    """A copy of an optimizer that fit never used: replay may have to build it, which cannot be undone."""
    if optimizer is None or optimizer.built:
        return None
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except Exception:
        return None  # of a user's class; replay uses it as it is


def _borrow_contents(model: Any, later: Later) -> None:
    backend = current_backend()
    slots = variables_of(model)
    variables = [*state_variables(model), *model.metrics_variables, *slots, *reachable_variables(model)]
    for variable in {id(v): v for v in variables}.values():
        for part in backend.parts(variable):
            if _readable(backend.contents, part):
                later(_contents(backend, part, backend.contents(part), backend.place(part)))


def _contents(backend: ReplayBackend, part: Any, content: NDArray, place: Any) -> Callable[[], None]:
    def put_back() -> None:
        if not _holds(backend, part, content, place):
            backend.put(part, content, place)

    return put_back


def _holds(backend: ReplayBackend, part: Any, content: NDArray, place: Any) -> bool:
    try:
        same = np.array_equal(backend.contents(part), content, equal_nan=content.dtype.kind in "fc")
        return same and backend.place(part) == place
    except Exception:
        # JAX: a buffer that was given away (after a fit, moving averages share theirs with the weights), or, where a
        # step of the user's raised, none at all.
        return False


def _readable(contents_of: Callable[[Any], NDArray], part: Any) -> bool:
    try:
        contents_of(part)
    except RuntimeError:
        # JAX: after a fit with `use_ema`, the averages share buffers with the weights (Keras 3.15.1), and a call of
        # `evaluate` by the user gave those away; what is in them is lost to everybody.
        return False
    return True


def _setting(model: Any, name: str, *, raw: bool = False) -> Callable[[], None]:
    """Puts an attribute back to what it is now; `raw`: past the model's own `__setattr__`."""
    value = getattr(model, name, _MISSING)

    def put_back() -> None:
        if value is _MISSING:
            if hasattr(model, name):
                delattr(model, name)
        elif getattr(model, name, _MISSING) is not value:
            (object.__setattr__ if raw else setattr)(model, name, value)

    return put_back
