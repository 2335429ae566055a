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
    "policies": ("diagnose.cli.policies", "what other stopping policies would have kept"),
    "redact": ("diagnose.cli.redact", "write a trace anew without training rows and paths, to share it"),
    "identify": ("diagnose.cli.identify", "say which recorded version the weights in a file are"),
}
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 0 done, 1 an error to act on, 2 usage, 3 a mismatch (where asked for).

    A script run by `run` that fails has its own exit code.
    """
    words, script_words = _split(list(sys.argv[1:] if argv is None else argv))
    parser = argparse.ArgumentParser(
        prog="python -m diagnose", description="Explains why fit and evaluate disagree, with proof from your own run."
    )
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name, (module, text) in COMMANDS.items():
        modules[name] = importlib.import_module(module)
        modules[name].add_arguments(verbs.add_parser(name, help=text, description=text))
    options = parser.parse_args(words)
    options.arguments = script_words
    try:
        return int(modules[options.command].execute(options))
    except DiagnoseError as error:
        # On one line, whatever text of others a message holds.
        print("diagnose:", " ".join(str(error).split()), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("diagnose: interrupted.", file=sys.stderr)
        return INTERRUPTED


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and those after `--`, which are the script's. Not left to argparse: which argument it gives them to
    depends on the order of the options before."""
    if words[:1] != ["run"] or "--" not in words:
        return words, []
    cut = words.index("--")
    return words[:cut], words[cut + 1 :]
