"""IPython: `%load_ext diagnose` and the `%%diagnose` magic. Runs the cell as it stands and shows what was found."""

from __future__ import annotations

import argparse
import ast
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from diagnose.errors import DiagnoseError

if TYPE_CHECKING:
    from diagnose.api.session import Session
    from diagnose.result.diagnosis import Diagnosis

SHOWN = 5
"""Diagnoses shown in full; each of the others gets one line."""

RESULT = "_diagnoses"
"""The user's variable that holds the list of diagnoses of the last `%%diagnose` cell."""


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext diagnose`: registers `%%diagnose`."""

    def run_cell(line: str, cell: str) -> None:
        """%%diagnose [FOLDER] [--only-fit N]

        Traces every fit of the cell and shows the diagnoses below its output; `_diagnoses` holds them as a list. With a
        FOLDER, traces and report are written there. The cell runs in your namespace as always; if it raises, or is
        interrupted, what was traced until then is shown before the traceback. Top-level `await` and a `;` that
        silences the last line are not supported.
        """
        __tracebackhide__ = True
        run(ipython, line, cell)

    ipython.register_magic_function(run_cell, magic_kind="cell", magic_name="diagnose")


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext diagnose`."""
    ipython.magics_manager.magics["cell"].pop("diagnose", None)


def run(shell: Any, line: str, cell: str) -> None:
    """Runs a cell with every fit in it traced, and displays the diagnoses. The cell's exception goes on as it is."""
    __tracebackhide__ = True
    options = _options(shell, line)
    from diagnose.api.session import trace

    session = trace(options.folder, only_fit=options.only_fit)
    try:
        with session:
            _execute(shell, cell)
    except BaseException:
        _show(shell, session, options.folder)
        raise
    _show(shell, session, options.folder)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DiagnoseError(f"{message[:1].upper()}{message[1:]}. Usage: %%diagnose [FOLDER] [--only-fit N]")


def _options(shell: Any, line: str) -> argparse.Namespace:
    parser = _Parser(prog="%%diagnose", add_help=False)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--only-fit", type=int)
    try:
        return parser.parse_args(shlex.split(line))
    except DiagnoseError as error:
        raise _usage(shell, str(error)) from None


def _usage(shell: Any, text: str) -> Exception:
    from IPython.core.error import UsageError

    error: Exception = UsageError(text)  # IPython prints it in one line
    return error


def _execute(shell: Any, cell: str) -> None:
    """Statement by statement in the user's namespace; the value of a last expression is displayed, as in any cell."""
    __tracebackhide__ = True
    source = shell.transform_cell(cell)
    name = shell.compile.cache(source, shell.execution_count, raw_code=cell)
    tree = shell.compile.ast_parse(source, filename=name)
    tree = shell.transform_ast(tree)
    body, last = tree.body, []
    if body and isinstance(body[-1], ast.Expr):
        body, last = body[:-1], body[-1:]
    namespace = shell.user_ns
    if body:
        exec(shell.compile(ast.Module(body, tree.type_ignores), name, "exec"), shell.user_global_ns, namespace)
    if last:
        exec(shell.compile(ast.Interactive(last), name, "single"), shell.user_global_ns, namespace)


def _show(shell: Any, session: Session, folder: str | None) -> None:
    """Displays what was found. An error of the analysis is told, and hides none of the cell."""
    from IPython.display import display

    try:
        found = _diagnoses(session, folder)
    except DiagnoseError as error:
        print(f"diagnose: {error}", file=sys.stderr)
        found = []
    except Exception:
        print("diagnose: the analysis failed, by an error in diagnose itself:", file=sys.stderr)
        shell.showtraceback()
        found = []
    shell.user_ns[RESULT] = found
    for diagnosis in found[:SHOWN]:
        display(diagnosis)  # type: ignore[no-untyped-call, unused-ignore]
    if found[SHOWN:]:
        from diagnose.report.terminal import one_line

        print("\n".join(one_line(diagnosis) for diagnosis in found[SHOWN:]))


def _diagnoses(session: Session, folder: str | None) -> Sequence[Diagnosis]:
    if not session.runs:
        print("diagnose: this cell made no fit that was traced.", file=sys.stderr)
        return []
    if folder is None:
        return session.diagnose()
    found = session.report()
    if session.reported != session.folder:
        print(f"diagnose: {session.folder} holds an earlier report; this one is in {session.reported}.")
    return found
