"""What an analysis could not do: why a value cannot be computed, and errors of our own. One measurement that fails
costs itself, never the report. Imports no Keras."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from diagnose.errors import DiagnoseError, ReplayError
from diagnose.result.texts import Said

T = TypeVar("T")

MOST_TEXT = 300
"""Characters of another's message that are told."""

_OURS = str(Path(__file__).resolve().parents[1])
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WRAPPED = "Exception encountered when calling"


class Problems:
    """Collects, in the order of the analysis and each once, what could not be computed (`reasons`), what broke in this
    package (`errors`), and what a reader should know though nothing is missing for it (`notes`)."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.errors: list[str] = []
        self.notes: list[Said] = []

    @property
    def all(self) -> tuple[str, ...]:
        """Reasons first; no notes."""
        return (*self.reasons, *self.errors)

    @property
    def reason(self) -> str | None:
        """The first reason, which most of what is missing has."""
        return next(iter(self.all), None)

    def cannot(self, reason: str | None) -> None:
        """Notes why something cannot be computed; None: nothing."""
        if reason is not None and reason not in self.reasons:
            self.reasons.append(reason)

    def note(self, sentence: Said | None) -> None:
        """Notes what a reader should know; None: nothing."""
        if sentence is not None and sentence not in self.notes:
            self.notes.append(sentence)

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Within is one measurement or phase; what it raises is noted and ends it. A DiagnoseError that is no
        ReplayError passes: it is about what the user asked for, or about the file."""
        try:
            yield
        except ReplayError as error:
            self.cannot(str(error))
        except DiagnoseError:
            raise
        except Exception as error:
            text = internal(what, error)
            if text not in self.errors:
                self.errors.append(text)

    def attempt(self, what: str, default: T, compute: Callable[[], T]) -> T:
        """What `compute` returns, `default` where it raised (see `noted`)."""
        found = default
        with self.noted(what):
            found = compute()
        return found


@contextmanager
def users_code(doing: str) -> Iterator[None]:
    """Within runs code of the user's: model, losses, metrics. What it raises is the reason why a value cannot be
    computed: a ReplayError "`doing` raised …". Interrupts pass."""
    try:
        yield
    except DiagnoseError:
        raise
    except Exception as error:
        raise ReplayError(f"{doing} raised {described(error)}") from error


def internal(what: str, error: BaseException) -> str:
    """An error of this package in one line, with the place that a report of it needs."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OURS)]
    where = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"an error in diagnose itself ({what}{where}): {type(error).__name__}: {message(error)}"


def described(error: BaseException) -> str:
    """An error of the user's code in one line: class, message, and the innermost place that is neither a library's nor
    ours."""
    text = message(error)
    place = _users_place(error.__traceback__)
    return f"{type(error).__name__}{f': {text}' if text else ''}{'' if place is None else f' ({place})'}"


def message(error: BaseException) -> str:
    """What an error says, on one line. Keras and TensorFlow put pages around the sentence that counts."""
    try:
        text = str(error)
    except Exception:
        return ""
    paragraphs = [" ".join(part.split()) for part in _ESCAPES.sub("", text).split("\n\n")]
    paragraphs = [part for part in paragraphs if part]
    while len(paragraphs) > 1 and paragraphs[0].startswith(_WRAPPED):
        paragraphs = paragraphs[1:]
    first = paragraphs[0].removesuffix(".") if paragraphs else ""
    return first if len(first) <= MOST_TEXT else f"{first[: MOST_TEXT - 1]}…"


def _users_place(tb: TracebackType | None) -> str | None:
    found = None
    for frame in traceback.extract_tb(tb):
        path = frame.filename
        library = "site-packages" in path or "dist-packages" in path or path.startswith((_OURS, sys.base_prefix))
        if not library and not path.startswith("<"):
            found = f"{frame.name} in {Path(path).name}, line {frame.lineno}"
    return found
