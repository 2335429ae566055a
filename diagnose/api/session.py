"""`with diagnose.trace("runs"):` traces every `fit` inside. Puts recording, analysis and reports together; does none of
them."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from diagnose.errors import DiagnoseError, TraceWriteError
from diagnose.record.attach import Attachment
from diagnose.record.least import DEFAULT, OVERHEAD, Asked, Level, Rows, check_bytes
from diagnose.record.names import remove_folder

if TYPE_CHECKING:
    from diagnose.analysis.chosen import Wanted
    from diagnose.record.budget import SharedBytes
    from diagnose.record.run import Run
    from diagnose.record.tracer import Tracer
    from diagnose.result.diagnosis import Diagnosis

MAX_BYTES = 4 << 30
"""What all fits of one session keep together by default."""

FIT_BYTES = 1 << 30
"""What one of them keeps at most."""


class Session:
    """Traces every `fit` made between entering and leaving, each into a file `fit-N.diag` of the folder; a trace of
    that name from before is replaced.

    A fit whose callbacks hold a `Tracer` is recorded by that one, a fit inside an inner session by the inner one; they
    are in `runs` all the same. Fits in threads are traced; those in child processes are not. Where two threads have a
    session each, a session has the fits of its own thread.

    Of the models, the last 16 are kept from being collected, or fewer where these and their optimizers hold more than
    512 MiB. Earlier fits are diagnosed with theirs where they are still there, else with one built from the stored
    architecture of a model of Keras's own layers, else without replay.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, only_fit: int | None, max_bytes: int, asked: Asked = DEFAULT
    ) -> None:
        if only_fit is not None and only_fit < 1:
            raise DiagnoseError(f"only_fit counts from 1; there is no fit {only_fit}.")
        if folder is None:
            folder = tempfile.mkdtemp(prefix="diagnose-")
            weakref.finalize(self, remove_folder, folder, os.getpid())
        self.folder = Path(folder).absolute()  # the code inside may change the working folder
        self._traces = Traces(self.folder, max_bytes, asked)
        self._attachment = Attachment(self._traces, wanted=wanted(only_fit), everywhere=False)
        self._entered = False
        self.reported: Path | None = None
        """The folder that `report` wrote to last."""
        self._reports: dict[Path, Path] = {}

    def __enter__(self) -> Self:
        if self._entered:
            raise DiagnoseError("A session is entered once; make another one with diagnose.trace().")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TraceWriteError(f"Cannot write traces in {self.folder}: {error.strerror or error}.") from error
        self._entered = True
        self._attachment.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._attachment.stop()
        self._traces.release()

    @property
    def runs(self) -> list[Run]:
        """The traced fits so far, in the order they started; `path` of each is its trace file."""
        return list(self._attachment.runs.values())

    def diagnose(
        self, evaluate: Any = None, *, epochs: Wanted = None, executor: Executor | None = None
    ) -> list[Diagnosis]:
        """Analyses all traced fits. Empty where there was none.

        Args:
            evaluate, epochs, executor: see `Tracer.diagnose`; by default each fit is evaluated on its own rows.
        """
        from diagnose.analysis.analyze import diagnose_run

        found = []
        for number, run in self._attachment.runs.items():
            run.owner.close()
            found.append(diagnose_run(run, evaluate=evaluate, epochs=epochs, number=number, executor=executor))
        return found

    def report(
        self,
        out: str | os.PathLike[str] | None = None,
        evaluate: Any = None,
        *,
        epochs: Wanted = None,
        force: bool = False,
    ) -> list[Diagnosis]:
        """Analyses all traced fits and writes `report.html`, `diagnosis.json` and the figures into `out` (default: the
        folder of the traces). Where that holds an earlier report, this one goes to `out-1`, `out-2`, … beside it, or
        takes its place if `force` or where it is this session's own; `reported` is the folder it went to. Returns the
        diagnoses."""
        from diagnose.report import write_reports
        from diagnose.report.folder import claimed

        diagnoses = self.diagnose(evaluate, epochs=epochs)
        asked = (self.folder if out is None else Path(out)).absolute()
        own = self._reports.get(asked)
        with claimed(own or asked, force=force or own is not None) as folder:
            write_reports(diagnoses, folder)
        self.reported = self._reports[asked] = folder
        return diagnoses


def trace(
    folder: str | os.PathLike[str] | None = None,
    *,
    only_fit: int | None = None,
    max_bytes: int = MAX_BYTES,
    rows: Rows = "keep",
    level: Level = "auto",
    overhead: float = OVERHEAD,
) -> Session:
    """A context manager that traces every `fit` inside it:

        with diagnose.trace("runs") as session:
            anything_that_calls_fit()
        for diagnosis in session.diagnose():
            print(diagnosis)

    Args:
        folder: where the traces go; without it, into a temporary folder that lasts as long as the session object.
        only_fit: trace only the fit of this number, counted from 1 in the order they start.
        max_bytes: what all traces together take on disk at most, at least 1 MiB. What is left out as they fill up is
            said in them; see `Tracer`.
        rows: "digests" keeps no training rows in the traces, see `Tracer`.
        level, overhead: how much is recorded while a fit runs, see `Tracer`.
    """
    return Session(folder, only_fit, max_bytes, Asked(rows=rows, level=level, overhead=overhead))


class Traces:
    """Makes the tracers of an attachment: that of fit N writes `fit-N.diag`, or another name beside it where a session
    that is still open has that file. All keep `max_bytes` together.

    Args:
        asked: what is to be recorded of each fit.
        holds_arrays: keeps the arrays that fits are given alive, where rows are digests: for analyses that follow
            when the code that made them has ended.
    """

    def __init__(self, folder: Path, max_bytes: int, asked: Asked = DEFAULT, *, holds_arrays: bool = False) -> None:
        check_bytes(max_bytes)
        self.folder = folder
        self.asked = asked
        self.holds_arrays = holds_arrays
        self.max_bytes = max_bytes
        self._shared: SharedBytes | None = None
        self._mine: set[Path] = set()

    def __call__(self, number: int) -> Tracer:
        from diagnose.record.budget import SharedBytes
        from diagnose.record.tracer import Tracer

        if self._shared is None:
            self._shared = SharedBytes(self.max_bytes)
        path, other = self.folder / f"fit-{number}.diag", 1
        while path in _CLAIMED:
            other += 1
            path = self.folder / f"fit-{number}-{other}.diag"
        _CLAIMED.add(path)
        self._mine.add(path)
        asked = self.asked
        tracer = Tracer(
            path,
            weights=asked.weights,
            level=asked.level,
            overhead=asked.overhead,
            max_bytes=min(FIT_BYTES, self.max_bytes),
            rows=asked.rows,
            shared=self._shared,
        )
        tracer.holds_arrays = self.holds_arrays
        return tracer

    def release(self) -> None:
        """Later sessions may replace these files."""
        _CLAIMED.difference_update(self._mine)


def wanted(only_fit: int | None) -> Callable[[int], bool]:
    """For an attachment: all fits, or one."""
    return lambda number: only_fit is None or number == only_fit


_CLAIMED: set[Path] = set()
"""Files of sessions that are still open."""
