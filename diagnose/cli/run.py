"""`run`: runs a scenario or a script, traces every fit it makes, then analyses and reports them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from diagnose.cli.catalogue import find
from diagnose.cli.output import MISMATCH, Output, finish
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
    parser.usage = f"{parser.prog} [options] NAME|SCRIPT.py [-- SCRIPT ARGS]"


def execute(options: argparse.Namespace) -> int:
    script = find(options.target)
    shown: Path = options.out or Path("reports") / script.stem
    out = shown.absolute()  # the script may change the working folder
    _choose_backend(options.backend)
    _make_writable(shown)
    output = Output(as_json=options.json)
    with attached(lambda number: _tracer(out, number)) as attachment:
        outcome = run_script(script, options.arguments)
    diagnoses = _analyse(attachment, script.stem)
    if not diagnoses:
        return _nothing(script, attachment, outcome)
    mismatch = finish(diagnoses, out, output, shown=shown)
    if outcome.code:
        return outcome.code
    if len(diagnoses) < len(attachment.runs):
        return 1
    return MISMATCH if mismatch and options.fail_on_mismatch else 0


def _nothing(script: Path, attachment: Attachment, outcome: Outcome) -> int:
    """Says why there is nothing to report."""
    if attachment.runs:
        text = f"No fit of {script} could be analysed, so there is no report."
    elif attachment.started:
        text = f"No fit of {script} got as far as training, so there is nothing to diagnose."
    elif outcome.failed or outcome.code:
        text = f"{script} ended before any fit could be traced."
    else:
        text = f"{script} made no fit, so there is nothing to diagnose."
    if not outcome.code:
        raise DiagnoseError(text)
    print(f"diagnose: {text}", file=sys.stderr)
    return outcome.code


def _tracer(out: Path, number: int) -> Tracer:
    from diagnose.record.tracer import Tracer

    return Tracer(out / f"fit-{number}.diag")


def _analyse(attachment: Attachment, name: str) -> list[Diagnosis]:
    if not attachment.runs:
        return []
    from diagnose.analysis import diagnose_run

    found = []
    for number, run in attachment.runs.items():
        try:
            found.append(diagnose_run(run, name=name, number=number))
        except DiagnoseError as error:
            print(f"diagnose: fit {number} could not be analysed: {error}", file=sys.stderr)
        except Exception:
            # A mistake of ours: the traceback is wanted, and the other fits are reported all the same.
            print(f"diagnose: fit {number} could not be analysed, by an error in diagnose itself:", file=sys.stderr)
            traceback.print_exc()
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
        raise DiagnoseError(
            f"Cannot write reports to {out}: {error.strerror or error}. Choose another --out."
        ) from error
