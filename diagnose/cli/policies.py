"""`policies`: what other stopping policies would have kept of a saved trace."""

from __future__ import annotations

import argparse
from pathlib import Path

from diagnose.cli.output import nobody_reads
from diagnose.cli.report import add_model, check, read
from diagnose.errors import DiagnoseError
from diagnose.result.diagnosis import Policies
from diagnose.result.text import visible
from diagnose.tracefile.remote import at_hand, located, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", type=located, metavar="TRACE", help="a .diag file, or a URL")
    parser.add_argument(
        "--metric", metavar="NAME", help="what the models are judged by (default: what the run itself goes by)"
    )
    parser.add_argument(
        "--policy",
        action="append",
        metavar="EXPRESSION",
        help="in place of the usual ones, such as 'EarlyStopping(monitor=\"val_loss\", patience=3)'; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    add_model(parser)
    parser.set_defaults(epochs=None, workers=None, dask=None, traces=())


def execute(options: argparse.Namespace) -> int:
    table = _table(options)
    with nobody_reads():
        print(_json(table) if options.json else visible(_text(table), keep="\n"), flush=True)
    return 0


def _table(options: argparse.Namespace) -> Policies:
    check(options)
    with at_hand(options.trace) as path:
        return _table_of(options, path)


def _table_of(options: argparse.Namespace, path: Path) -> Policies:
    from diagnose.decide.watched import decisions
    from diagnose.policies.standard import parse
    from diagnose.policies.table import table
    from diagnose.tracefile.reader import read_trace

    diagnosis = read(options, path)
    if options.metric is None and options.policy is None and diagnosis.policies is not None:
        return diagnosis.policies
    asked = None if options.policy is None else [parse(text) for text in options.policy]
    trace = read_trace(path)
    try:
        known = {row.epoch: row.reevaluated for row in diagnosis.epoch_rows}
        found = table(trace, decisions(trace), known, options.metric, asked)
    finally:
        trace.close()
    if found is None:
        told = shown(options.trace) if isinstance(options.trace, str) else options.trace
        raise DiagnoseError(f"{told}: no epoch was finished, so no policy had anything to go by.")
    return found


def _json(table: Policies) -> str:
    from diagnose.report.json import spelled
    from diagnose.result.codec import policies_dict

    return spelled(policies_dict(table))


def _text(table: Policies) -> str:
    from diagnose.report.policies_view import build_policies, lines

    return "\n".join(lines(build_policies(table)))
