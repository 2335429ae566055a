"""What `run` and `report` have in common at the end: write the reports, print the summary, tell of a mismatch."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diagnose.result.diagnosis import Diagnosis
from diagnose.result.text import visible

if TYPE_CHECKING:
    from diagnose.analysis.chosen import Wanted

MISMATCH = 3

SUMMARIES = 5
"""Fits that get a summary of their own in the terminal; each of the others, one line."""


def add_out(parser: argparse.ArgumentParser, default: str) -> None:
    """The options that say where a report goes."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: {default}); beside it, as DIR-1, DIR-2, …, where it holds an earlier report",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier report")


def add_epochs(parser: argparse.ArgumentParser) -> None:
    """The option `--epochs`, the same for every verb that analyses."""
    parser.add_argument(
        "--epochs",
        type=_epochs,
        metavar="all|3,7",
        help="the epochs to explain (default: the last, the best by the monitor, the restored, …)",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The options that say who replays (see `diagnose.cli.workers`)."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--workers", type=_count, metavar="N", help="replay in N processes (needs the extra 'workers')")
    who.add_argument("--dask", metavar="ADDRESS", help="replay on a running Dask cluster (needs the extra 'dask')")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("takes at least one")
    return number


def _epochs(text: str) -> Wanted:
    if text == "all":
        return "all"
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'all' nor numbers of epochs such as 3,7")
    return found


class Output:
    """Where the results go: the standard output as it was when this was made, whatever a script does to it afterwards.

    Args:
        as_json: the results are the only thing on standard output; all that is printed from here on, by whomever,
            goes to standard error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stream = sys.stdout
        self._descriptor = -1
        if as_json:
            sys.stdout.flush()
            self._descriptor = os.dup(1)
            os.dup2(2, 1)

    def json(self, text: str) -> None:
        """Writes the JSON, in UTF-8 whatever the terminal's encoding; once."""
        with nobody_reads(), os.fdopen(self._descriptor, "wb") as file:
            file.write(text.encode())

    def line(self, text: str) -> None:
        """Prints text; characters the terminal cannot show become question marks, those it would act on escapes."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = visible(text, keep="\n")
        with nobody_reads():
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()


def finish(
    diagnoses: Sequence[Diagnosis], out: Path, output: Output, *, shown: Path, asked: Path, document: str | None = None
) -> None:
    """Prints a summary (or the JSON) and writes all reports into `out`; one does not wait for the other to succeed.

    Args:
        shown: `out` as a user of the working folder names it.
        asked: the folder the user asked for, which may hold an earlier report.
        document: the text of `diagnosis.json`, where it is at hand.
    """
    from diagnose.report import write_reports
    from diagnose.report.folder import moved
    from diagnose.report.json import dumps
    from diagnose.report.terminal import one_line, summary

    note = moved(asked, shown)
    written = False
    if output.as_json and document is None:
        document = dumps(diagnoses)
    try:
        write_reports(diagnoses, out, document=document)
        written = True
    finally:
        if document is not None and output.as_json:
            output.json(document)
            if note and written:
                print(f"diagnose: {note} This one is in {shown}.", file=sys.stderr)
        else:
            for diagnosis in diagnoses[:SUMMARIES]:
                output.line(f"\n{summary(diagnosis)}")
            if len(diagnoses) > SUMMARIES:
                output.line("")
            for diagnosis in diagnoses[SUMMARIES:]:
                output.line(one_line(diagnosis))
            if written:
                output.line("\n" + (f"{note}\n" if note else "") + f"Report: {shown / 'report.html'}")


@contextlib.contextmanager
def nobody_reads() -> Iterator[None]:
    """Passes over a closed pipe or a stream the script closed; the reports are in the folder anyway."""
    try:
        yield
    except BrokenPipeError:
        # Else Python fails once more when it flushes at exit.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
    except ValueError:
        return
