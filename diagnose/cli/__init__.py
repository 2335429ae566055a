"""The command line: one module per verb, errors printed in one place."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from diagnose.errors import DiagnoseError, UsageError

COMMANDS: Final = {
    "run": ("diagnose.cli.run", "run a scenario or a script, trace every fit, report"),
    "scenarios": ("diagnose.cli.scenarios", "list the shipped scenarios"),
    "report": ("diagnose.cli.report", "report a saved trace again"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 0 done, 1 an error to act on, 2 usage, 3 a mismatch (where asked for).

    A script run by `run` that fails has its own exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m diagnose", description="Explains why fit and evaluate disagree, with proof from your own run."
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name, (module, text) in COMMANDS.items():
        modules[name] = importlib.import_module(module)
        modules[name].add_arguments(verbs.add_parser(name, help=text, description=text))
    options = parser.parse_args(argv)
    try:
        return int(modules[options.command].execute(options))
    except UsageError as error:
        print(f"diagnose: {error}", file=sys.stderr)
        return 2
    except DiagnoseError as error:
        print(f"diagnose: {error}", file=sys.stderr)
        return 1
