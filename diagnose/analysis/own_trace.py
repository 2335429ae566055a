"""The trace of a fit of this process: whether it is still that fit's, and the diagnosis put into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diagnose.analysis.tables import shown_path
from diagnose.errors import DiagnoseError
from diagnose.result.calls import Call
from diagnose.result.codec import from_dict, to_dict
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.problems import internal
from diagnose.tracefile.model import Digest
from diagnose.tracefile.reader import Trace, read_trace, store_diagnosis

if TYPE_CHECKING:
    from diagnose.record.run import Run


def kept(diagnosis: Diagnosis, path: Path, digest: Digest) -> Diagnosis:
    """Puts the diagnosis into its trace, the one whose chain ends in `digest`. Where that fails, it is said, and the
    diagnosis is there all the same."""
    try:
        store_diagnosis(path, to_dict(diagnosis), verified=digest)
    except Exception as error:
        why = str(error) if isinstance(error, DiagnoseError) else internal("storing the diagnosis", error)
        return replace(diagnosis, problems=(*diagnosis.problems, f"it is not kept in the trace: {why}"))
    return diagnosis


def earlier_calls(trace: Trace) -> tuple[Call, ...]:
    """The script's own calls, as the diagnosis in a trace has them: they were in the process that made it, and nowhere
    else."""
    stored = trace.diagnosis()
    try:
        return () if stored is None else from_dict(stored).calls
    except DiagnoseError:
        return ()


def own_trace(run: Run) -> Trace:
    """The trace of a fit of this process.

    Raises:
        DiagnoseError: it is gone: its file was removed, or holds another recording by now.
    """
    shown = shown_path(run.path)
    if not run.path.exists():
        raise DiagnoseError(f"The trace of this fit is gone: there is no {shown} any more.")
    trace = read_trace(run.path)
    if trace.header.recording.id != run.id:
        trace.close()
        raise DiagnoseError(
            f"The trace of this fit is gone: {shown} now holds another recording. Give each tracer a path of its own."
        )
    return trace
