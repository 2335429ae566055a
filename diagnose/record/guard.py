"""Keeps errors of the tracer out of the user's fit."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from diagnose.errors import TraceWriteError

F = TypeVar("F", bound=Callable[..., Any])


class RecordingEnded(TraceWriteError):
    """A recording can go no further, through no fault in it: the reason is said to the user and kept in the trace."""


class TracingStopped(UserWarning):
    """Warned once when an error inside the tracer ended tracing; the fit goes on untraced."""


def guarded(method: F) -> F:
    """For methods of objects with a `recorder`: does nothing once tracing ended; an `Exception` ends tracing, never
    the fit."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        recorder = self.recorder
        if recorder is None or not recorder.active():
            return
        try:
            method(self, *args, **kwargs)
            if recorder.worker.failure is not None:
                raise recorder.worker.failure
        except Exception as error:
            stop(recorder, error)

    return call  # type: ignore[return-value]


def stop(recorder: Any, error: BaseException) -> None:
    """Ends tracing because of `error`: into the trace, one warning, nothing raised."""
    recorder.fail(error)
    why = (
        f": {error}"
        if isinstance(error, RecordingEnded)
        else (f" after an error in the tracer ({type(error).__name__}: {error}).")
    )
    text = f"diagnose: tracing stopped{why} Training goes on; the trace holds what was recorded until now."
    try:
        warnings.warn(text, TracingStopped, stacklevel=3)
    except Warning:  # the user turns warnings into errors: even then the fit goes on
        print(text, file=sys.stderr)
