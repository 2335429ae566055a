"""`report`: reports a saved trace; analyses it again where the model is at hand."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from diagnose.cli.output import Output, add_epochs, add_out, add_workers, finish
from diagnose.cli.workers import executor
from diagnose.errors import DiagnoseError, UsageError
from diagnose.report.folder import claimed
from diagnose.report.json import dumps
from diagnose.result.diagnosis import Diagnosis
from diagnose.tracefile.remote import at_hand, located, stem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "traces", type=located, nargs="+", metavar="TRACE", help="a .diag file, or a URL that fsspec reads: s3://…"
    )
    add_out(parser, "reports/NAME of the trace; of several: reports, with a folder for each")
    parser.add_argument("--json", action="store_true", help="print diagnosis.json; of several, the overview")
    add_epochs(parser)
    add_workers(parser)
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """What it takes to analyse a trace again."""
    parser.add_argument(
        "--data",
        metavar="MODULE:FUNCTION",
        help="the training data, (x, y) or batches: for rows that the trace knows by digest only",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model", metavar="MODULE:FUNCTION", help="analyse again with the compiled model this function returns"
    )
    model.add_argument(
        "--stored-model",
        action="store_true",
        help="analyse again with the architecture stored in the trace (built-in Keras layers only)",
    )


def execute(options: argparse.Namespace) -> int:
    check(options)
    output = Output(as_json=options.json)
    if len(options.traces) > 1:
        from diagnose.cli.many import report_all

        return report_all(options, output, read_here)
    (trace,) = options.traces
    diagnosis = read(options, trace)
    asked: Path = options.out or Path("reports") / stem(trace)
    # The same report again is not another one.
    document = dumps([diagnosis])
    same = {"diagnosis.json": document.encode()}
    with claimed(asked, force=options.force, same=same) as out:
        finish([diagnosis], out, output, shown=out, asked=asked, document=document)
    return 0


def check(options: argparse.Namespace) -> None:
    """UsageError for options that are of no use together."""
    if options.model or options.stored_model:
        return
    if options.epochs is not None:
        raise UsageError("--epochs is of use with --model or --stored-model only: it needs replay.")
    if (options.workers or options.dask) and len(options.traces) < 2:
        raise UsageError(
            "--workers and --dask are of use for several traces, or with --model or --stored-model: they replay."
        )
    if options.data:
        raise UsageError("--data is of use with --model or --stored-model only.")


def read(options: argparse.Namespace, trace: Path | str, *, alone: bool = True) -> Diagnosis:
    """The diagnosis that the trace holds, or a new one where there is a model.

    Args:
        alone: the workers asked for are for this trace.
    """
    with at_hand(trace) as path:
        return _read(options, path, alone)


def read_here(options: argparse.Namespace, trace: Path | str) -> Diagnosis:
    """The same by this process alone."""
    return read(options, trace, alone=False)


def _read(options: argparse.Namespace, path: Path, alone: bool) -> Diagnosis:
    from diagnose.analysis.analyze import analyse_file
    from diagnose.analysis.tables import with_clocks
    from diagnose.result.codec import from_dict
    from diagnose.tracefile.reader import read_trace

    with read_trace(path) as trace:
        found, header = trace.diagnosis(), trace.header
        stored = None if found is None else with_clocks(trace, from_dict(found))
    if options.model or options.stored_model:
        if header.backend != "unknown" and "keras" not in sys.modules:
            os.environ.setdefault("KERAS_BACKEND", header.backend)  # seeds and kernels are the backend's own
        model = _from_function(options.model) if options.model else _from_trace(header.model.architecture)
        data = _call(options.data, "--data") if options.data else None
        with executor(options) if alone else contextlib.nullcontext() as workers:
            return analyse_file(path, model, data=data, epochs=options.epochs, name=path.stem, executor=workers)
    if stored is not None:
        return stored
    return analyse_file(path, None, name=path.stem)


def _call(target: str, option: str) -> Any:
    """What the user's MODULE:FUNCTION returns."""
    module_name, _, function_name = target.partition(":")
    if not function_name:
        raise DiagnoseError(f"{option} takes MODULE:FUNCTION, not '{target}'.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
        return function()
    except DiagnoseError:
        raise
    except (ImportError, AttributeError) as error:
        raise DiagnoseError(f"{option} {target}: {error}.") from error
    except Exception as error:
        raise DiagnoseError(f"{option} {target}: {type(error).__name__}: {error}; --debug shows where.") from error


def _from_function(target: str) -> Any:
    model = _call(target, "--model")
    if not getattr(model, "compiled", False):
        raise DiagnoseError(f"--model {target} returned no compiled Keras model.")
    return model


def _from_trace(architecture: Any) -> Any:
    from diagnose.replay.keras.stored_model import build

    return build(architecture)
