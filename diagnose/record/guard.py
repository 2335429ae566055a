"""Keeps errors of the tracer out of the user's fit."""

from __future__ import annotations

import functools
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from diagnose.errors import TraceWriteError
from diagnose.frameworks.keras.releases import loaded, untested
from diagnose.record.handlers import from_handler, let_through

F = TypeVar("F", bound=Callable[..., Any])


class RecordingEnded(TraceWriteError):
    """A recording can go no further, through no fault in it: the reason is said to the user and kept in the trace."""


class TracingStopped(UserWarning):
    """Warned once when an error inside the tracer ended tracing; the fit goes on untraced."""


def guarded(method: F) -> F:
    """For methods of objects with a `recorder`: does nothing once tracing ended; an `Exception` ends tracing, never
    the fit. What a signal handler of the user's raised in there ends tracing and is passed on."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        recorder = self.recorder
        if recorder is None or not recorder.active():
            return
        choice = recorder.choice
        began = 0.0 if choice is None else time.thread_time()
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            if from_handler(error) is not None:
                recorder.abandon()
                let_through(error)
            if not recorder.ended_elsewhere():  # else its memory was taken away under the method
                stop(recorder, error)
        except BaseException:
            recorder.abandon()
            raise
        else:
            if recorder.worker.failure is not None:
                stop(recorder, recorder.worker.failure)
        finally:
            if choice is not None:
                choice.meter.add(time.thread_time() - began)

    return call  # type: ignore[return-value]


def stop(recorder: Any, error: BaseException) -> None:
    """Ends tracing because of `error`: into the trace, one warning, nothing raised."""
    for part in (recorder.take_out, lambda: recorder.fail(error)):
        try:
            part()
        except Exception as another:  # such as no memory, which is what may have ended it
            let_through(another)
    try:
        why = (
            f": {error}"
            if isinstance(error, RecordingEnded)
            else f" after an error in the tracer ({type(error).__name__}: {error})."
        )
    except Exception as another:
        let_through(another)
        why = "."
    _say(f"diagnose: tracing stopped{why} Training goes on; the trace holds what was recorded until now.", 4)


def not_traced(error: BaseException) -> None:
    """Warns that a fit could not be traced from its start, because of `error`."""
    _say(f"diagnose: this fit is not traced ({type(error).__name__}: {error}).", 5)


def _say(text: str, level: int) -> None:
    text = " ".join(filter(None, (text, untested(loaded()))))
    try:
        warnings.warn(text, TracingStopped, stacklevel=level)
    except Warning:  # the user turns warnings into errors: even then the fit goes on
        print(text, file=sys.stderr)
    except Exception as another:  # showing a warning reads the source around it
        let_through(another)
