"""`scenarios`: lists the shipped scenarios, one line each."""

from __future__ import annotations

import argparse
import os
import sys

from diagnose.cli.catalogue import names, summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the list is always whole."""


def execute(options: argparse.Namespace) -> int:
    width = max((len(name) for name in names()), default=0)
    sys.stdout.write("".join(f"{name:<{width}}  {summary(name)}\n" for name in names()))
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; what is left must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
