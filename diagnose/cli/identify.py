"""`identify`: says which recorded version the weights in a file are. The file is read as data only."""

from __future__ import annotations

import argparse
from pathlib import Path

from diagnose.cli.output import Output
from diagnose.tracefile.remote import located


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=located, metavar="TRACE", help="a .diag file, or a URL")
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help=".weights.h5, .keras, .h5, .safetensors or .npz")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def execute(options: argparse.Namespace) -> int:
    from diagnose.result.text import visible_json
    from diagnose.tracefile.jsontext import to_json
    from diagnose.tracefile.reader import read_trace

    output = Output(as_json=options.json)
    with read_trace(options.trace) as trace:
        found = trace.identify(options.weights)
    if options.json:
        output.json(visible_json(to_json(found.to_dict())) + "\n")
    else:
        output.line(str(found))
    return 0
