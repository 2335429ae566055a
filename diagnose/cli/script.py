"""Runs a script as `python script.py` would: its own arguments, `__main__`, path, output, exceptions and exit code."""

from __future__ import annotations

import builtins
import io
import os
import sys
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the script ended: its exit code, and whether that was by an uncaught exception (its traceback has been printed)."""

    code: int
    failed: bool


def run_script(path: Path, arguments: Sequence[str]) -> Outcome:
    """Runs the script in this process. Its uncaught exception is printed as Python prints it, without this package's frames."""
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv = [str(path), *arguments]
    # What Python puts first for `python script.py`; for `python -m diagnose` that was the working folder.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path[0] = str(path.resolve().parent)
    else:
        sys.path.insert(0, str(path.resolve().parent))
    try:
        with io.open_code(str(path)) as file:
            code = compile(file.read(), str(path), "exec", dont_inherit=True)
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
    """The traceback, without the frames of this package; through `sys.excepthook` where the script set its own."""
    _strip(error)
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        traceback.print_exception(error)


def _strip(error: BaseException) -> None:
    seen: set[int] = set()
    chain: list[BaseException] = [error]
    while chain:
        current = chain.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        frames = [f for f, _ in traceback.walk_tb(current.__traceback__)]
        own = [f.f_code.co_filename.startswith(PACKAGE) for f in frames]
        if not all(own):
            current.__traceback__ = _without_own(current.__traceback__)
        chain.extend(e for e in (current.__cause__, current.__context__) if e is not None)


def _without_own(tb: types.TracebackType | None) -> types.TracebackType | None:
    if tb is None:
        return None
    rest = _without_own(tb.tb_next)
    if tb.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return rest
    return types.TracebackType(rest, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
