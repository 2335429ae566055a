"""`redact`: writes a trace anew without training rows and without paths, for others to have."""

from __future__ import annotations

import argparse
from pathlib import Path

from diagnose.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a .diag file; it is left as it is")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="what to write (default: NAME.redacted.diag beside the trace)"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE")


def execute(options: argparse.Namespace) -> int:
    from diagnose.tracefile.redact import redact

    output = Output(as_json=False)
    source: Path = options.trace
    target: Path = options.out or source.with_name(f"{source.stem}.redacted.diag")
    found = redact(source, target, force=options.force)
    output.line(
        f"{target} holds digests in the place of {found.rows} rows and {found.arrays} other arrays of batches, and no "
        "paths. Weights, metric values and names are in it, and whoever guesses a row can tell by its digest."
    )
    return 0
