"""The one place where text goes to the terminal: nothing that others named reaches it as more than text."""

from __future__ import annotations

import argparse
import sys
import traceback
from typing import Any

from diagnose.result.text import visible


def show_traceback() -> None:
    """Prints the traceback of the exception that is being handled."""
    print(visible(traceback.format_exc(), keep="\n"), end="", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Usage errors repeat words of the command line, which may be names that others chose."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(visible(message or "", keep="\n"), file)
