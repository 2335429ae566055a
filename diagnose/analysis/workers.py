"""Epochs replayed by other processes. A worker opens the trace with an engine of its own and sends back what it has
computed; the analysis then runs as ever and finds most of it done. What a worker could not compute is computed here, so
that the same reason is given."""

from __future__ import annotations

import contextlib
import os
import pickle
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnose.errors import ReplayError, WorkerError
from diagnose.replay.engine import EngineFactory
from diagnose.result.problems import Problems, described
from diagnose.tracefile.reader import read_trace
from diagnose.version import __version__

if TYPE_CHECKING:
    from diagnose.replay.check import EpochCheck
    from diagnose.replay.replayer import Known, Replayer

HERE = "Without executor= (--workers, --dask) it is done in this process."


@dataclass(frozen=True, slots=True)
class Source:
    """What every worker needs, the same for all epochs of an analysis. `factory`: pickled, as it is the same bytes for
    all jobs, and a worker that has opened it once need not read it again."""

    key: str
    process: int
    version: str
    backend: str
    trace: Path
    factory: bytes
    evaluate: Any
    data: Any
    evaluated: Mapping[str, float]
    coarse: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One (1-based) epoch. `checked`: its steps are to be replayed; `explained`: its ledgers are wanted too; `again`:
    its last weights are to be evaluated again."""

    source: Source
    epoch: int
    checked: bool
    explained: bool
    again: bool

    def __call__(self) -> Done:
        """Runs in the worker.

        Raises:
            WorkerError: this worker cannot do it.
            TraceError: it cannot read the trace.
        """
        from diagnose.ledger.build import build_ledgers
        from diagnose.replay.check import check_epoch

        replayer = _opened(self.source)
        check = None
        if self.checked:
            with contextlib.suppress(ReplayError):
                check = check_epoch(replayer, self.epoch, walked=self.explained)
        row = next((row for row in replayer.trace.epochs if row.epoch == self.epoch), None)
        if self.explained and row is not None:
            with contextlib.suppress(ReplayError):
                build_ledgers(replayer, row, self.source.evaluated)
        if self.again:
            with contextlib.suppress(ReplayError):
                replayer.evaluate_state(replayer.states.end_of(self.epoch), coarse=self.source.coarse)
        return Done(self.epoch, check, replayer.known)


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker sends back. `check`: None where the steps could not be replayed."""

    epoch: int
    check: EpochCheck | None
    known: Known


_held: tuple[str, Replayer, contextlib.ExitStack] | None = None
"""What this worker opened last: one analysis gives it many epochs."""


def _opened(source: Source) -> Replayer:
    global _held
    if _held is not None and _held[0] == source.key:
        return _held[1]
    if os.getpid() == source.process:
        raise WorkerError(f"An executor of threads cannot replay: take one of processes. {HERE}")
    if source.version != __version__:
        raise WorkerError(f"A worker has version {__version__} of this package, not {source.version}. {HERE}")
    if _held is not None:
        _held[2].close()
        _held = None
    os.environ.setdefault("KERAS_BACKEND", source.backend)
    lent = contextlib.ExitStack()
    with contextlib.ExitStack() as undone:
        undone.push(lent)
        _held = source.key, _replayer(source, lent), lent
        undone.pop_all()
    return _held[1]


def _replayer(source: Source, lent: contextlib.ExitStack) -> Replayer:
    from diagnose.replay.opened import opened

    trace = lent.enter_context(read_trace(source.trace))
    problems = Problems()
    factory: EngineFactory = pickle.loads(source.factory)
    replayer, _ = lent.enter_context(opened(trace, factory, source.evaluate, source.data, "", problems))
    if replayer is None:
        raise WorkerError(f"A worker cannot replay {source.trace.name}: {problems.reason}. {HERE}")
    return replayer


@dataclass(frozen=True, slots=True)
class Workers:
    """An executor, and what its workers need of one analysis.

    `executor`: any of `concurrent.futures`, whose workers are other processes that have this package, Keras and what
    the model is made of, and can read the trace under the same path.
    """

    executor: Executor
    factory: EngineFactory
    evaluate: Any = None
    data: Any = None

    def done(
        self,
        replayer: Replayer,
        evaluated: Mapping[str, float],
        jobs: Sequence[tuple[int, bool, bool, bool]],
        coarse: bool,
    ) -> Iterator[Done]:
        """The jobs' results, in order.

        Args:
            jobs: of each, what `Job` holds after `source`.

        Raises:
            WorkerError: a worker ended, cannot be reached, or cannot do it.
        """
        trace = replayer.trace
        try:
            factory = pickle.dumps(self.factory)
        except Exception as error:
            raise WorkerError(f"This model cannot be handed to another process: {described(error)}. {HERE}") from error
        source = Source(
            uuid.uuid4().hex, os.getpid(), __version__, trace.header.backend, trace.path.absolute(), factory,
            self.evaluate, self.data, evaluated, coarse,
        )  # fmt: skip
        try:
            waiting = [self.executor.submit(Job(source, *job)) for job in jobs]
            try:
                for each in waiting:
                    yield each.result()
            finally:
                for each in waiting:
                    each.cancel()
        except WorkerError:
            raise
        except Exception as error:
            raise WorkerError(f"A replay in another process failed: {described(error)}. {HERE}") from error
