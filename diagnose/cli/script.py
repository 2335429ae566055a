"""Runs a script as `python script.py` would, or a module as `python -m` would: its own arguments, `__main__`, path,
output, exceptions and exit code."""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from diagnose.errors import DiagnoseError

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_SCENARIOS = os.path.join(_PACKAGE, "_scenarios", "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the script ended: its exit code, and whether by an uncaught exception (whose traceback is printed)."""

    code: int
    failed: bool


def run_script(path: Path, arguments: Sequence[str], *, aside: bool = False) -> Outcome:
    """Runs the script in this process. An uncaught exception is printed as by Python, without this package's frames.

    Args:
        aside: runs it in a temporary folder, so that what it saves replaces nothing of the user's.
    """
    file = os.path.join(os.getcwd(), path)  # as Python does, which leaves ".." alone
    folder = os.path.dirname(os.path.realpath(path))
    sys.argv = [str(path), *arguments]
    # What Python puts first for `python script.py`; for `python -m diagnose` that was the working folder.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path[0] = folder
    else:
        sys.path.insert(0, folder)

    def load() -> tuple[types.CodeType, dict[str, Any]]:
        with io.open_code(file) as source:
            return compile(source.read(), file, "exec", dont_inherit=True), {"__file__": file, "__cached__": None}

    with _aside() if aside else contextlib.nullcontext():
        return _run(load)


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Within: the working folder is a temporary one."""
    here, process = os.getcwd(), os.getpid()
    folder = tempfile.mkdtemp(prefix="diagnose-")
    os.chdir(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # gone meanwhile
            os.chdir(here)
        if os.getpid() == process:  # not a forked child's to remove
            shutil.rmtree(folder, ignore_errors=True)


def run_module(name: str, arguments: Sequence[str]) -> Outcome:
    """Runs a module, or a package's `__main__`, as `python -m name` would.

    Raises:
        DiagnoseError: there is no such module, or it cannot be run.
    """
    sys.argv = ["-m", *arguments]  # what Python shows while it looks for the module
    here = os.getcwd()
    if sys.path[:1] == [""]:
        sys.path[0] = here
    elif here not in sys.path[:1]:
        sys.path.insert(0, here)

    def load() -> tuple[types.CodeType, dict[str, Any]]:
        spec, code = _module(name)
        sys.argv[0] = str(spec.origin)
        names = {"__file__": spec.origin, "__cached__": spec.cached, "__loader__": spec.loader}
        return code, names | {"__spec__": spec, "__package__": spec.parent}

    return _run(load)


def _module(name: str) -> tuple[ModuleSpec, types.CodeType]:
    """Finds a module and compiles it; packages on the way are imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        # Only what says that a package on the way is missing; what its own code raises is the user's traceback.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise DiagnoseError(f"There is no module '{name}': {error}.") from None
        if isinstance(error, ValueError) and "." not in name:
            raise DiagnoseError(f"'{name}' cannot be run as a module: {error}.") from None
        raise
    if spec is None:
        hint = f" Leave out '.py': -m {name[:-3]}." if name.endswith(".py") else ""
        raise DiagnoseError(f"There is no module '{name}' on Python's path.{hint}")
    if spec.submodule_search_locations is not None:
        if name.endswith(".__main__"):
            raise DiagnoseError(f"'{name}' is a package and cannot be run.")
        try:
            return _module(f"{name}.__main__")
        except DiagnoseError:
            raise DiagnoseError(f"'{name}' is a package without a __main__, so it cannot be run.") from None
    get_code = getattr(spec.loader, "get_code", None)
    code = None if get_code is None else get_code(name)
    if code is None:
        raise DiagnoseError(f"'{name}' has no Python code to run.")
    return spec, code


def _run(load: Callable[[], tuple[types.CodeType, dict[str, Any]]]) -> Outcome:
    """Runs what `load` gives, in a fresh `__main__` that has the names it gives with it."""
    module = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = module
    try:
        code, names = load()
        module.__dict__.update(names)
        exec(code, module.__dict__)
    except DiagnoseError as error:
        if _raised_here(error):
            raise
        _print(error)
        return Outcome(1, True)
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


def _raised_here(error: DiagnoseError) -> bool:
    """Whether it is about finding the module, and none that the user's code let through."""
    last = [frame.f_code.co_filename for frame, _ in _walk(error.__traceback__)]
    return all(_own(filename) for filename in last)


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
