"""The command line: one module per verb, errors printed in one place."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

from diagnose.cli.console import Parser, show_traceback
from diagnose.errors import DiagnoseError, UsageError
from diagnose.result.text import complain
from diagnose.version import __version__

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
    parser = Parser(
        prog="python -m diagnose", description="Explains why fit and evaluate disagree, with proof from your own run."
    )
    parser.add_argument("--version", action="version", version=f"diagnose {__version__}")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {}
    for name, (module, text) in COMMANDS.items():
        modules[name] = importlib.import_module(module)
        verb = verbs.add_parser(name, help=text, description=text)
        modules[name].add_arguments(verb)
        verb.add_argument("--debug", action="store_true", help="show where an error comes from: its whole traceback")
    options = parser.parse_args(words)
    options.arguments = script_words
    try:
        return int(modules[options.command].execute(options))
    except DiagnoseError as error:
        if options.debug:
            show_traceback()
        complain(error)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        complain("interrupted.")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            show_traceback()
        complain(_internal(error, options.debug))
        return 1


def _internal(error: Exception, debug: bool) -> str:
    """What no verb expects: a mistake of ours, or a file that nobody thought of."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"an error in diagnose itself: {what:.500}" + ("" if debug else "; --debug shows it")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and those after `--`, which are the script's. Not left to argparse: which argument it gives them to
    depends on the order of the options before."""
    if words[:1] != ["run"] or "--" not in words:
        return words, []
    cut = words.index("--")
    return words[:cut], words[cut + 1 :]
