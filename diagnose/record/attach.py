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
        new_tracer: makes the tracer for fit number n (1-based). Not asked where the user's own callbacks hold a tracer already.
    """

    def __init__(self, new_tracer: Callable[[int], Tracer]) -> None:
        self._new_tracer = new_tracer
        self._active = True
        self.tracers: list[Tracer] = []

    @property
    def runs(self) -> list[Run]:
        """The traced fits, in the order they started."""
        found: list[Run] = []
        for tracer in self.tracers:
            found.extend(run for run in tracer.runs if run not in found)
        return sorted(found, key=lambda run: run.started)

    def stop(self) -> None:
        """Fits from here on are not traced; recordings that are still open are closed."""
        self._active = False
        for tracer in self.tracers:
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
            try:
                bound = signature.bind(model, *args, **kwargs)
                tracer = self._add_tracer(model, bound.arguments)
            except TypeError:
                return original(model, *args, **kwargs)  # wrong arguments: let Keras say so
            except Exception as error:
                _warn(error)
                return original(model, *args, **kwargs)
            try:
                return original(*bound.args, **bound.kwargs)
            finally:
                tracer.close()

        model_class.fit = fit

    def _add_tracer(self, model: Any, arguments: dict[str, Any]) -> Tracer:
        import keras

        from diagnose.record.tracer import Tracer

        given = arguments.get("callbacks")
        listed = given.callbacks if isinstance(given, keras.callbacks.CallbackList) else keras.tree.flatten(given or [])
        own = next((cb for cb in listed if isinstance(cb, Tracer)), None)
        if own is not None:
            if own not in self.tracers:
                self.tracers.append(own)
            return own
        tracer = self._new_tracer(len(self.tracers) + 1)
        if isinstance(given, keras.callbacks.CallbackList):
            tracer.set_model(model)
            given.callbacks.append(tracer)
        else:
            arguments["callbacks"] = [*listed, tracer]
        self.tracers.append(tracer)
        return tracer


@contextmanager
def attached(new_tracer: Callable[[int], Tracer]) -> Iterator[Attachment]:
    """Within: every `fit` is traced, from whenever Keras is imported. Keras is not imported by this: a script may first set up
    its backend and environment."""
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
