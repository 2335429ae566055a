"""Everything the rules may look at: measurements of one fit, without any judgement."""

from __future__ import annotations

from dataclasses import dataclass, field

from diagnose.decide.clock import clock
from diagnose.decide.watched import Watcher
from diagnose.result.calls import Call
from diagnose.result.diagnosis import Clock, Ledger, Restoration
from diagnose.result.measurements import Measurements
from diagnose.tracefile.model import Epoch
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class Facts:
    """One fit: its trace, what was decided, and what was measured."""

    trace: Trace
    decisions: tuple[Watcher, ...]
    restoration: Restoration | None
    ledgers: tuple[Ledger, ...] = ()
    measured: Measurements = field(default_factory=Measurements)
    calls: tuple[Call, ...] = ()

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        return self.trace.epochs

    @property
    def steps_per_epoch(self) -> list[int]:
        return [e.last_version - e.first_version for e in self.epochs]

    @property
    def validated(self) -> bool:
        return bool(self.trace.evaluations)

    def training_decisions(self) -> list[Watcher]:
        """Decisions that rest on values logged from train steps."""
        return [d for d in self.decisions if d.on_training_value]

    def clock(self, metric: str, epoch: int) -> Clock:
        """When the value of this name in a (1-based) epoch's log was computed."""
        return clock(self.trace, next(e for e in self.epochs if e.epoch == epoch), metric)

    def averaged(self, metric: str, epoch: int) -> int | None:
        """Over how many different (trainable) weights the value of this name in a (1-based) epoch's log averages; None
        where that is not known."""
        return self.clock(metric, epoch).different

    def ledger(self, metric: str, epoch: int) -> Ledger | None:
        return next((x for x in self.ledgers if x.metric == metric and x.epoch == epoch), None)
