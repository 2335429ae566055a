"""Runs a script as `python script.py` would: its own arguments, `__main__`, path, output, exceptions and exit code."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_SCENARIOS = os.path.join(_PACKAGE, "_scenarios", "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the script ended: its exit code, and whether by an uncaught exception (whose traceback is printed)."""

    code: int
    failed: bool


def run_script(path: Path, arguments: Sequence[str]) -> Outcome:
    """Runs the script in this process. An uncaught exception is printed as by Python, without this package's frames."""
    file = os.path.join(os.getcwd(), path)  # as Python does, which leaves ".." alone
    folder = os.path.dirname(os.path.realpath(path))
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=builtins, __cached__=None, __annotations__={})
    sys.modules["__main__"] = module
    sys.argv = [str(path), *arguments]
    # What Python puts first for `python script.py`; for `python -m diagnose` that was the working folder.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path[0] = folder
    else:
        sys.path.insert(0, folder)
    try:
        with io.open_code(file) as source:
            code = compile(source.read(), file, "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except SystemExit as stop:
        return _exit(stop)
    except KeyboardInterrupt as error:
        _print(error)
        return Outcome(130, True)
    except BaseException as error:
        _print(error)
        return Outcome(1, True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # closed, or nobody reads any more
                stream.flush()
    return Outcome(0, False)


def _exit(stop: SystemExit) -> Outcome:
    """As the interpreter does: None is 0, a number is itself, anything else is printed and is 1."""
    if stop.code is None:
        return Outcome(0, False)
    if isinstance(stop.code, int):
        return Outcome(stop.code & 0xFF, False)
    print(stop.code, file=sys.stderr)
    return Outcome(1, False)


def _print(error: BaseException) -> None:
    """The traceback, without the frames of this package, by Python's own hook or the script's."""
    _strip(error)
    sys.excepthook(type(error), error, error.__traceback__)


def _strip(error: BaseException) -> None:
    seen: set[int] = set()
    chain: list[BaseException] = [error]
    while chain:
        current = chain.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        stripped = _without_own(current.__traceback__)
        # A script that does not compile has no frame of its own; in a chain, an error that is all ours keeps its
        # frames.
        if stripped is not None or current is error:
            current.__traceback__ = stripped
        chain.extend(e for e in (current.__cause__, current.__context__) if e is not None)


def _without_own(tb: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback without this package's frames. A loop: a script's recursion may be deeper than ours may go."""
    kept = [(frame, tb_line) for frame, tb_line in _walk(tb) if not _own(frame.f_code.co_filename)]
    rest: types.TracebackType | None = None
    for frame, (lasti, line) in reversed(kept):
        rest = types.TracebackType(rest, frame, lasti, line)
    return rest


def _walk(tb: types.TracebackType | None) -> list[tuple[types.FrameType, tuple[int, int]]]:
    found = []
    while tb is not None:
        found.append((tb.tb_frame, (tb.tb_lasti, tb.tb_lineno)))
        tb = tb.tb_next
    return found


def _own(filename: str) -> bool:
    return filename.startswith(_PACKAGE) and not filename.startswith(_SCENARIOS)
