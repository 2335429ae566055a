"""Opens a trace for replay: its engine, and the data evaluation goes over. Gives the model back whatever happens."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from diagnose.errors import ReplayError
from diagnose.replay.engine import EngineFactory
from diagnose.replay.evaluation import given, rows_fit_used
from diagnose.replay.replayer import Replayer
from diagnose.replay.runs import EvaluationData
from diagnose.replay.supply import supply
from diagnose.result.problems import Problems, users_code
from diagnose.tracefile.content import DIGESTS_ONLY
from diagnose.tracefile.reader import Trace


@contextlib.contextmanager
def opened(
    trace: Trace, factory: EngineFactory, evaluate: Any, data: Any, lack: str, problems: Problems
) -> Iterator[tuple[Replayer | None, EvaluationData | None]]:
    """The replayer, and the data to evaluate on; None for either, and the reason among the `problems`. So are errors
    of giving the model back, which is complete apart from what they name.

    Args:
        evaluate, data, lack: see `diagnose.analysis.analyze.analyse`.

    Raises:
        DiagnoseError: `evaluate` or `data` is of another form.
    """
    lent = contextlib.ExitStack()
    # What the user's model warns of here it has warned of in the fit. Ours are not kept back.
    lent.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=r"(?!diagnose\b)")
    try:
        rows = problems.attempt("finding the rows", None, lambda: _rows(trace, factory, evaluate, data, lack))
        replayer = problems.attempt("opening the model", None, lambda: _replayer(trace, factory, rows, lent))
        if replayer is not None and replayer.spread is not None:
            problems.cannot(replayer.spread.partial)
        yield replayer, None if replayer is None else rows
    finally:
        with problems.noted("giving the model back"):
            lent.close()


def _rows(trace: Trace, factory: EngineFactory, evaluate: Any, data: Any, lack: str) -> EvaluationData:
    try:
        with users_code("reading the data given"):
            if data is not None:
                supply(trace, data, factory)
            if evaluate is not None:
                return given(trace, evaluate, factory)
        return rows_fit_used(trace)
    except ReplayError as error:
        if lack and str(error).endswith(DIGESTS_ONLY):
            raise ReplayError(f"{lack}; give them by data=, or report --data") from error
        raise


def _replayer(
    trace: Trace, factory: EngineFactory, rows: EvaluationData | None, lent: contextlib.ExitStack
) -> Replayer:
    return Replayer(trace, lent.enter_context(factory.open(trace)), () if rows is None else rows.batches)
