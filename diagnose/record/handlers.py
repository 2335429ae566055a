"""Tells what a signal handler of the user's raised from errors of the tracer's own: a handler runs wherever the main
thread stands, inside the tracer too, and what it raises (a timeout) is for the user's code."""

from __future__ import annotations

import inspect
import signal
from types import CodeType, FrameType, MethodType
from typing import Any

_MOST_CAUSES = 10
_SIGNALS = frozenset(int(number) for number in signal.valid_signals())


def let_through(error: BaseException) -> None:
    """Raises what a signal handler raised, if that is what `error` is or was made from (`raise … from`). First in
    every `except` of code that runs on the training thread and that would go on."""
    raised = from_handler(error)
    if raised is not None:
        context = raised.__context__
        try:
            raise raised
        finally:
            raised.__context__ = context  # as the handler left it


def from_handler(error: BaseException) -> BaseException | None:
    """`error`, or the one of its causes, that a signal handler raised; None where none did."""
    current: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if current is None:
            break
        if _passed_a_handler(current):
            return current
        current = current.__cause__
    return None


def _passed_a_handler(error: BaseException) -> bool:
    installed = None
    entry = error.__traceback__
    while entry is not None:
        frame = entry.tb_frame
        if _called_as_handler(frame):
            return True
        if installed is None:
            installed = _installed()
        if frame.f_code in installed:
            return True
        entry = entry.tb_next
    return False


def _called_as_handler(frame: FrameType) -> bool:
    """Whether the frame was given a signal's number and the very frame that it interrupted. Nothing else is called so,
    and a handler that took itself out again before it raised is known by it."""
    code, caller = frame.f_code, frame.f_back
    if caller is None:
        return False
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    if count == 0:
        return False
    given: list[Any] = []
    for name in code.co_varnames[:count]:
        value = frame.f_locals.get(name)
        given.extend(value if type(value) is tuple else (value,))
    return any(value is caller for value in given) and any(
        isinstance(value, int) and value in _SIGNALS for value in given
    )


def _installed() -> frozenset[CodeType]:
    """The code of the handlers that are set now."""
    found = set()
    for number in _SIGNALS:
        try:
            handler: Any = signal.getsignal(number)
        except (ValueError, OSError):
            continue
        code = _code_of(handler)
        if code is not None:
            found.add(code)
    return frozenset(found)


def _code_of(handler: Any) -> CodeType | None:
    """The code that runs when `handler` is called: of a function, a method, a `partial` of one, or an object."""
    for _ in range(_MOST_CAUSES):
        if isinstance(handler, MethodType):
            handler = handler.__func__
        elif hasattr(handler, "func") and hasattr(handler, "keywords"):
            handler = handler.func
        else:
            break
    code = getattr(handler, "__code__", None)
    if code is None and callable(handler):
        code = getattr(vars(type(handler)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None
