"""Every error a user can act on. One base class; `diagnose.cli` prints it in one place, without a traceback."""

from __future__ import annotations


class DiagnoseError(Exception):
    """Base class of all errors this package raises for its users.

    The message is a full sentence that names what is wrong and what to do next.
    """


class UsageError(DiagnoseError):
    """The command line or an argument is wrong (exit code 2 on the command line)."""


class TraceError(DiagnoseError):
    """A trace file cannot be used; the message names the file and what is wrong with it."""


class TraceWriteError(DiagnoseError):
    """A trace file cannot be created or written (no permission, disk full, …)."""


class WeightsFileError(DiagnoseError):
    """A file of weights cannot be used; the message names the file and what is wrong with it."""


class ReplayError(DiagnoseError):
    """A value cannot be computed again, with the reason (weights not kept, rows not recorded, …)."""


class WorkerError(DiagnoseError):
    """Another process that was to replay ended, cannot be reached, or cannot do it. Without it, it is done here."""


class MissingLedgerError(DiagnoseError, KeyError):
    """There is no ledger for the metric or epoch asked for; the message names those that exist."""

    def __str__(self) -> str:
        # KeyError would show the message in quotes, as if it were a key.
        return Exception.__str__(self)


def placed(error: BaseException, whole: str) -> str:
    """What a codec found wrong, with its place first: "layers[0].name: expected `str`, got `int`"; `whole` is the name
    of all of it."""
    if isinstance(error, RecursionError):
        return f"{whole} is nested too deeply"
    what, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`").lstrip(".") or whole
    return f"{place[:200]}: {what[:1].lower()}{what[1:200]}"
