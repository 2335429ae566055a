"""`run`: runs a scenario or a script, traces every fit it makes, then analyses and reports them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import tempfile
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from diagnose.api.session import MAX_BYTES, Traces, wanted
from diagnose.cli.catalogue import find, is_scenario
from diagnose.cli.output import MISMATCH, Output, add_epochs, add_out, add_workers, finish
from diagnose.cli.script import Outcome, run_module, run_script
from diagnose.cli.workers import executor
from diagnose.errors import DiagnoseError, UsageError, WorkerError
from diagnose.record.attach import Attachment, attached
from diagnose.record.least import OVERHEAD, Asked, check_bytes
from diagnose.report.folder import REPORT, TRACES, claimed
from diagnose.result.problems import internal
from diagnose.result.text import complain

if TYPE_CHECKING:
    from diagnose.analysis.chosen import Wanted
    from diagnose.result.diagnosis import Diagnosis

BACKENDS = ("tensorflow", "jax", "torch")
_OURS = f"{TRACES}|{REPORT}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "target", nargs="?", metavar="NAME|SCRIPT.py", help="a shipped scenario, or a training script of yours"
    )
    what.add_argument("-m", dest="module", metavar="MODULE", help="a module of yours, run as by python -m")
    add_out(parser, "reports/NAME")
    parser.add_argument("--backend", choices=BACKENDS, help="Keras backend (default: by Keras's own rules)")
    parser.add_argument("--json", action="store_true", help="print diagnosis.json; the script's output goes to stderr")
    parser.add_argument("--fail-on-mismatch", action="store_true", help="exit with 3 if a mismatch was found")
    add_epochs(parser)
    add_workers(parser)
    parser.add_argument("--only-fit", type=_number, metavar="N", help="trace and analyse only the Nth fit")
    parser.add_argument(
        "--max-bytes",
        type=_bytes,
        default=MAX_BYTES,
        metavar="SIZE",
        help="what all traces together take on disk at most, such as 500MB or 2GiB (default 4GiB, at least 1MiB); what "
        "is left out as they fill up is said in the report",
    )
    parser.add_argument(
        "--rows",
        choices=("keep", "digests"),
        default="keep",
        help="digests: no training rows in the traces, only digests of them",
    )
    parser.add_argument(
        "--level",
        type=_level,
        default="auto",
        metavar="auto|0..3",
        help="how much is recorded while a fit runs: 3 the weights of every update, 2 digests of them, 1 the metrics' "
        "state, 0 inputs only; what was not kept is made again for the report; auto (the default) begins with all "
        "and goes down where that costs more than --overhead",
    )
    parser.add_argument(
        "--overhead",
        type=_overhead,
        default=OVERHEAD,
        metavar="SHARE",
        help=f"the share of a fit's own time that recording its steps may take (default {OVERHEAD})",
    )
    parser.usage = f"{parser.prog} [options] (NAME|SCRIPT.py | -m MODULE) [-- SCRIPT ARGS]"


def execute(options: argparse.Namespace) -> int:
    script = None if options.module else find(options.target)
    name = options.module or (script.stem if script else "")
    _choose_backend(options.backend)
    with claimed(options.out or Path("reports") / name, ours=_OURS, force=options.force) as shown:
        _make_writable(shown)
        return _traced(options, script, name, shown)


def _traced(options: argparse.Namespace, script: Path | None, name: str, shown: Path) -> int:
    out = shown.absolute()  # the script may change the working folder
    asked: Path = options.out or Path("reports") / name
    output = Output(as_json=options.json)
    process = os.getpid()
    traces = Traces(out, options.max_bytes, _asked(options), holds_arrays=True)
    with attached(traces, wanted=wanted(options.only_fit)) as attachment:
        if script is None:
            outcome = run_module(name, options.arguments)
        else:
            outcome = run_script(script, options.arguments, aside=is_scenario(options.target))
    if os.getpid() != process:
        return outcome.code  # a forked child that ran on to the end of the script; the reports are the parent's
    diagnoses = _analysed(options, attachment, name)
    if not diagnoses:
        return _nothing(str(script or name), attachment, outcome, options.only_fit)
    for diagnosis in diagnoses:
        if diagnosis.problems:
            complain(f"fit {diagnosis.fit}: not everything could be computed: {'; '.join(diagnosis.problems)}")
    # The exit code is the script's, whatever becomes of the report.
    try:
        finish(diagnoses, out, output, shown=shown, asked=asked)
    except DiagnoseError as error:
        complain(str(error))
    except Exception as error:
        complain(f"no report could be written: {internal('writing the report', error)}")
    if outcome.code:
        return outcome.code
    return MISMATCH if options.fail_on_mismatch and any(d.mismatch for d in diagnoses) else 0


def _nothing(script: str, attachment: Attachment, outcome: Outcome, only_fit: int | None) -> int:
    """Says why there is nothing to report."""
    if attachment.silent:
        return outcome.code  # the chief of the cluster reports
    if attachment.runs:
        # What was traced is there to be analysed another time.
        complain(f"no fit of {script} could be analysed, so there is no report.")
        return outcome.code
    elif only_fit is not None and 0 < attachment.started < only_fit:
        text = f"There is no fit {only_fit}: {script} made {attachment.started}."
    elif attachment.started:
        text = f"No fit of {script} got as far as training, so there is nothing to diagnose."
    elif outcome.failed or outcome.code:
        text = f"{script} ended before any fit could be traced."
    else:
        text = f"{script} made no fit, so there is nothing to diagnose."
    if not outcome.code:
        raise DiagnoseError(text)
    complain(text)
    return outcome.code


def _analysed(options: argparse.Namespace, attachment: Attachment, name: str) -> list[Diagnosis]:
    """By other processes where that was asked for, and where they cannot, by this one."""
    if not attachment.runs:
        return []
    try:
        with executor(options) as workers:
            return _analyse(attachment, name, options.epochs, workers)
    except DiagnoseError as error:
        complain(f"{error} Replaying in this process.")
        return _analyse(attachment, name, options.epochs, None)


def _analyse(attachment: Attachment, name: str, epochs: Wanted, workers: Executor | None) -> list[Diagnosis]:
    from diagnose.analysis.analyze import diagnose_run

    found = []
    for number, run in attachment.runs.items():
        try:
            found.append(diagnose_run(run, epochs=epochs, name=name, number=number, executor=workers))
        except WorkerError:
            raise
        except DiagnoseError as error:
            complain(f"fit {number} could not be analysed: {error}")
        except Exception as error:
            # A mistake of ours; the other fits are reported all the same.
            complain(f"fit {number} could not be analysed: {internal('analysis', error)}")
    return found


def _asked(options: argparse.Namespace) -> Asked:
    return Asked(rows=options.rows, level=options.level, overhead=options.overhead)


def _overhead(text: str) -> float:
    try:
        return Asked(overhead=float(text)).overhead
    except (ValueError, DiagnoseError):
        raise argparse.ArgumentTypeError(f"a share of the fit's time, 0 or more, such as {OVERHEAD}") from None


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("fits are counted from 1")
    return number


def _level(text: str) -> str | int:
    if text not in ("auto", "0", "1", "2", "3"):
        raise argparse.ArgumentTypeError("a level is auto, 0, 1, 2 or 3")
    return text if text == "auto" else int(text)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)b?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500MB or 2GiB")
    number, unit, binary = found.groups()
    nbytes = int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit or " "))
    try:
        check_bytes(nbytes)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
    return nbytes


def _choose_backend(backend: str | None) -> None:
    """Sets KERAS_BACKEND before the script imports Keras, and looks whether the backend is there."""
    if backend is None:
        return
    if importlib.util.find_spec(backend) is None:
        raise DiagnoseError(f"The backend '{backend}' is not installed: pip install 'keras-diagnose[{backend}]'.")
    os.environ["KERAS_BACKEND"] = backend


def _make_writable(out: Path) -> None:
    """Removes an earlier run's files, which are there only with `--force`, and fails before any training if the folder
    cannot be written.

    Raises:
        DiagnoseError: the folder cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=out):
            pass
        for path in out.iterdir():
            if re.fullmatch(_OURS, path.name):
                path.unlink()
    except OSError as error:
        raise DiagnoseError(
            f"Cannot write reports to {out}: {error.strerror or error}. Choose another --out."
        ) from error
