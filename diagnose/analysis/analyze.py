"""From a trace to a Diagnosis: finds the engine, the rows and the calls, and has the fit measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnose.analysis.chosen import Wanted
from diagnose.analysis.measure import Analysis
from diagnose.analysis.own_trace import earlier_calls, kept, own_trace
from diagnose.analysis.since_fit import Now, weights_now
from diagnose.analysis.tables import (
    UNTESTED,
    notice,
)
from diagnose.frameworks.keras.releases import NEWEST, OLDEST, loaded, tested
from diagnose.result.diagnosis import Diagnosis
from diagnose.result.problems import Problems
from diagnose.tracefile.damage import no_odd_error
from diagnose.tracefile.reader import Trace, read_trace

if TYPE_CHECKING:
    from diagnose.record.call_items import Calls
    from diagnose.record.run import Run
    from diagnose.replay.engine import EngineFactory
    from diagnose.replay.replayer import Replayer
    from diagnose.replay.runs import EvaluationData


def diagnose_run(
    run: Run,
    *,
    evaluate: Any = None,
    data: Any = None,
    epochs: Wanted = None,
    name: str = "fit",
    number: int | None = None,
    executor: Executor | None = None,
) -> Diagnosis:
    """Analyses a fit traced in this process, with the model it trained; stores the diagnosis in the trace."""
    from diagnose.analysis.own_model import model_of

    live = run.live if data is None else None
    trace = own_trace(run)
    try:
        model, compiled = model_of(run)
        diagnosis = analyse(
            trace,
            model,
            compiled,
            evaluate=evaluate,
            data=data if live is None else live.parts(),
            lack="" if live is None else live.lack,
            epochs=epochs,
            name=name,
            number=number or run.number,
            calls=run.calls,
            now=None if run.model is None else weights_now(run.model),
            executor=executor,
            no_model="the model of this fit is gone; keep a reference to it until the diagnosis is made",
        )
    finally:
        trace.close()
    return kept(diagnosis, run.path, trace.digest)


def analyse(
    trace: Trace,
    model: Any = None,
    compiled: Mapping[str, Any] | None = None,
    *,
    factory: EngineFactory | None = None,
    evaluate: Any = None,
    data: Any = None,
    lack: str = "",
    epochs: Wanted = None,
    name: str = "fit",
    number: int = 1,
    calls: Calls | None = None,
    now: Now | None = None,
    no_model: str = "it needs the model",
    executor: Executor | None = None,
) -> Diagnosis:
    """Analyses a trace.

    Args:
        model: the model that made it, or one of the same architecture, compiled; None: nothing is replayed, and all
            that needs replay says so.
        compiled: what `compile` had made for the traced fit, where the model may have been compiled again since.
        factory: of the engine to replay with; None: that of the framework which made the trace, with the model.
        evaluate, data, epochs, executor: see `Tracer.diagnose`.
        calls: what was noted of the script's own calls of `evaluate` and `predict`.
        now: the weights that the model of the fit holds now.
        lack: why `data` does not have all rows, where that is known.
        no_model: why there is no model, where there is none.
    """
    problems = Problems()
    if factory is None and model is not None:
        factory = problems.attempt("choosing the engine", None, lambda: _factory(trace, model, compiled or {}))
    elif factory is None:
        problems.cannot(no_model)
    for version in (trace.header.environment.get("keras"), None if model is None else loaded()):
        if version is not None and not tested(version):
            problems.note(UNTESTED(version=version[:40], oldest=OLDEST, newest=NEWEST))
    workers = None
    if executor is not None and factory is not None:
        from diagnose.analysis.workers import Workers

        data = list(data) if isinstance(data, Iterator) else data  # read here and there
        workers = Workers(executor, factory, evaluate, data)
    guard = no_odd_error(trace.path) if factory is None else contextlib.nullcontext()
    with guard, _opened(trace, factory, evaluate, data, lack, problems) as (replayer, found):
        diagnosis = Analysis(trace, replayer, found, problems, epochs, calls, now, workers).diagnosis(name, number)
    if problems.all != diagnosis.problems:  # the model could not be given back
        diagnosis = replace(diagnosis, problems=problems.all, notice=notice(trace, problems))
    return diagnosis


def _factory(trace: Trace, model: Any, compiled: Mapping[str, Any]) -> EngineFactory | None:
    from diagnose.replay.engines import factory_of

    return factory_of(trace, model, compiled)


@contextlib.contextmanager
def _opened(
    trace: Trace, factory: EngineFactory | None, evaluate: Any, data: Any, lack: str, problems: Problems
) -> Iterator[tuple[Replayer | None, EvaluationData | None]]:
    if factory is None:
        yield None, None
        return
    from diagnose.replay.opened import opened

    with opened(trace, factory, evaluate, data, lack, problems) as found:
        yield found


def analyse_file(
    path: Path,
    model: Any = None,
    *,
    data: Any = None,
    epochs: Wanted = None,
    name: str = "fit",
    executor: Executor | None = None,
) -> Diagnosis:
    """Analyses a saved trace, with a model if there is one, and with the data that it knows by digest only."""
    trace = read_trace(path)
    try:
        number = trace.header.fit.number
        diagnosis = analyse(trace, model, data=data, epochs=epochs, name=name, number=number, executor=executor)
        diagnosis = replace(diagnosis, calls=earlier_calls(trace))
    finally:
        trace.close()
    if diagnosis.replay is not None:  # never puts a poorer diagnosis in the place of a complete one
        diagnosis = kept(diagnosis, path, trace.digest)
    return diagnosis
