"""`scenarios`: lists the shipped scenarios, one line each."""

from __future__ import annotations

import argparse

from diagnose.cli.catalogue import names, summary
from diagnose.cli.output import nobody_reads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the list is always whole."""


def execute(options: argparse.Namespace) -> int:
    width = max((len(name) for name in names()), default=0)
    with nobody_reads():
        print("\n".join(f"{name:<{width}}  {summary(name)}" for name in names()), flush=True)
    return 0
