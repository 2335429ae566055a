"""A replay as a job that any process can do: it takes the trace's file and a factory of engines, and both pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diagnose.replay.engine import EngineFactory
from diagnose.replay.evaluation import rows_fit_used
from diagnose.replay.replayer import Replayer, Setting
from diagnose.replay.runs import EvaluationData
from diagnose.tracefile.reader import read_trace


@dataclass(frozen=True, slots=True)
class Job:
    """One replay value: `Replayer.value` of one setting and (1-based) epoch of a trace."""

    trace: Path
    setting: Setting
    epoch: int

    def run(self, factory: EngineFactory, evaluation: EvaluationData | None = None) -> dict[str, float]:
        """All metrics, as float64 by log name.

        Args:
            evaluation: what evaluation goes over; None: the rows that fit used.

        Raises:
            TraceError: the trace cannot be read.
            ReplayError: the value cannot be computed.
        """
        with read_trace(self.trace) as trace, factory.open(trace) as engine:
            data = rows_fit_used(trace) if evaluation is None else evaluation
            return Replayer(trace, engine, data.batches).value(self.setting, self.epoch)
