"""`run`: runs a scenario or a script, traces every fit it makes, then analyses and reports them."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diagnose.cli.catalogue import find
from diagnose.cli.output import MISMATCH, finish
from diagnose.cli.script import Outcome, run_script
from diagnose.errors import DiagnoseError
from diagnose.record.attach import Attachment, attached

if TYPE_CHECKING:
    from diagnose.diagnosis import Diagnosis
    from diagnose.record.tracer import Tracer

BACKENDS = ("tensorflow", "jax", "torch")
_OURS = re.compile(r"fit-\d+(-\d+)?\.diag(-journal)?|(fit-\d+-)?(timeline|ledger)\.png|report\.html|diagnosis\.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="NAME|SCRIPT.py", help="a shipped scenario, or a training script of yours")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: reports/NAME)")
    parser.add_argument("--backend", choices=BACKENDS, help="Keras backend (default: by Keras's own rules)")
    parser.add_argument("--json", action="store_true", help="print diagnosis.json; the script's output goes to stderr")
    parser.add_argument("--fail-on-mismatch", action="store_true", help="exit with 3 if a mismatch was found")
    parser.add_argument("arguments", nargs="*", metavar="-- SCRIPT ARGS", help="arguments for the script")


def execute(options: argparse.Namespace) -> int:
    script = find(options.target)
    out: Path = options.out or Path("reports") / script.stem
    _choose_backend(options.backend)
    _make_writable(out)
    with _stdout_to_stderr() if options.json else contextlib.nullcontext():
        with attached(lambda number: _tracer(out, number)) as attachment:
            outcome = run_script(script, options.arguments)
        diagnoses = _analyse(attachment, script.stem)
    return _end(options, script, out, outcome, diagnoses)


def _end(options: argparse.Namespace, script: Path, out: Path, outcome: Outcome, diagnoses: Sequence[Diagnosis]) -> int:
    if not diagnoses:
        if outcome.failed or outcome.code:
            print(f"diagnose: {script} ended before any fit could be traced.", file=sys.stderr)
            return outcome.code
        raise DiagnoseError(f"{script} made no fit, so there is nothing to diagnose.")
    mismatch = finish(diagnoses, out, as_json=options.json)
    if outcome.code or outcome.failed:
        return outcome.code
    return MISMATCH if mismatch and options.fail_on_mismatch else 0


def _tracer(out: Path, number: int) -> Tracer:
    from diagnose.record.tracer import Tracer

    return Tracer(out / f"fit-{number}.diag")


def _analyse(attachment: Attachment, name: str) -> list[Diagnosis]:
    if not attachment.runs:
        return []
    from diagnose.analysis import diagnose_run

    found = []
    for number, run in enumerate(attachment.runs, start=1):
        try:
            found.append(diagnose_run(run, name=name, number=number))
        except DiagnoseError as error:
            print(f"diagnose: fit {number} could not be analysed: {error}", file=sys.stderr)
    return found


def _choose_backend(backend: str | None) -> None:
    """Sets KERAS_BACKEND before the script imports Keras, and looks whether the backend is there."""
    if backend is None:
        return
    if importlib.util.find_spec(backend) is None:
        raise DiagnoseError(f"The backend '{backend}' is not installed: pip install 'keras-diagnose[{backend}]'.")
    os.environ["KERAS_BACKEND"] = backend


def _make_writable(out: Path) -> None:
    """Makes the folder, removes an earlier run's files from it, and fails before any training if it cannot be written.

    Raises:
        DiagnoseError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        for path in out.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise DiagnoseError(f"Cannot write reports to {out}: {error.strerror or error}. Choose another --out.") from error


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What the script and its libraries print goes to stderr, so that stdout holds the JSON alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
