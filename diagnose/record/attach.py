"""Adds a tracer to every `fit` made while attached, for code that does not know the tool."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from diagnose.record.tracer import Run, Tracer

MODEL_MODULE = "keras.src.models.model"
"""The module that defines `keras.Model`, which inherits `fit` from the backend's trainer."""


class Attachment:
    """All fits traced while attached, in order.

    Args:
        new_tracer: makes the tracer for fit number n (1-based). Not asked where the user's own callbacks hold one.
    """

    def __init__(self, new_tracer: Callable[[int], Tracer]) -> None:
        self._new_tracer = new_tracer
        self._active = True
        self._tracers: list[Tracer] = []
        self._runs: dict[int, Run] = {}
        self.started = 0
        """How many fits were called."""

    @property
    def runs(self) -> dict[int, Run]:
        """The traced fits by number, in the order they started. A fit that failed before training began has none."""
        return dict(sorted(self._runs.items()))

    def stop(self) -> None:
        """Fits from here on are not traced; recordings that are still open are closed."""
        self._active = False
        for tracer in self._tracers:
            tracer.close()

    def wrap(self, module: Any) -> None:
        """Sets a `fit` on `keras.Model` that adds a tracer to its callbacks."""
        model_class = module.Model
        original = model_class.fit
        signature = inspect.signature(original)

        @functools.wraps(original)
        def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._active:
                return original(model, *args, **kwargs)
            self.started += 1
            number = self.started
            try:
                bound = signature.bind(model, *args, **kwargs)
            except TypeError:
                return original(model, *args, **kwargs)  # wrong arguments: let Keras say so
            try:
                tracer, take_out = self._add_tracer(model, bound.arguments, number)
            except Exception as error:
                _warn(error)
                return original(model, *args, **kwargs)
            before = len(tracer.runs)
            try:
                return original(*bound.args, **bound.kwargs)
            finally:
                take_out()
                tracer.close()
                if len(tracer.runs) > before:
                    self._runs[number] = tracer.runs[before]

        model_class.fit = fit

    def _add_tracer(self, model: Any, arguments: dict[str, Any], number: int) -> tuple[Tracer, Callable[[], None]]:
        """Returns the tracer of this fit, and what takes it out of an object of the user's again."""
        import keras

        from diagnose.record.tracer import Tracer

        given = arguments.get("callbacks")
        listed = given.callbacks if isinstance(given, keras.callbacks.CallbackList) else keras.tree.flatten(given or [])
        own = next((cb for cb in listed if isinstance(cb, Tracer)), None)
        tracer = own or self._new_tracer(number)
        if tracer not in self._tracers:
            self._tracers.append(tracer)
        if own is None and isinstance(given, keras.callbacks.CallbackList):
            tracer.set_model(model)
            given.callbacks.append(tracer)
            return tracer, lambda: given.callbacks.remove(tracer)
        if own is None:
            arguments["callbacks"] = [*listed, tracer]
        return tracer, lambda: None


@contextmanager
def attached(new_tracer: Callable[[int], Tracer]) -> Iterator[Attachment]:
    """Within: every `fit` is traced, from whenever Keras is imported. Keras is not imported by this: a script may first
    set up its backend and environment."""
    attachment = Attachment(new_tracer)
    wrapt.register_post_import_hook(attachment.wrap, MODEL_MODULE)
    try:
        yield attachment
    finally:
        attachment.stop()


def _warn(error: Exception) -> None:
    text = f"diagnose: this fit is not traced ({type(error).__name__}: {error})."
    try:
        warnings.warn(text, stacklevel=3)
    except Warning:
        print(text, file=sys.stderr)
