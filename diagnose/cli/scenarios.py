"""`scenarios`: lists the shipped scenarios, one line each."""

from __future__ import annotations

import argparse

from diagnose.cli.catalogue import names, summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the list is always whole."""


def execute(options: argparse.Namespace) -> int:
    width = max((len(name) for name in names()), default=0)
    for name in names():
        print(f"{name:<{width}}  {summary(name)}")
    return 0
