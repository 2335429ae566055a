"""Everything the rules may look at: measurements of one fit, without any judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diagnose.decide.clock import clock
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Clock, Ledger, Restoration
from diagnose.tracefile.model import Epoch
from diagnose.tracefile.reader import Trace

if TYPE_CHECKING:
    from diagnose.replay.check import EpochCheck


@dataclass(frozen=True, slots=True)
class Scored:
    """An epoch's metrics in inference mode over fit's batches, each batch with the weights before and after its
    update."""

    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Facts:
    """One fit's measurements. What could not be computed, or does not exist in this fit, is empty.

    `reevaluated`: epoch -> metric -> value of the epoch's last version over the evaluation data; of a long fit, only
    of chosen epochs.
    `evaluated`: what Keras's `evaluate` returns with the weights after fit.
    `held_validation`: the same over the validation data (names with `val_`).
    `checks`: replayed epochs.
    `from_zero_state`: `evaluated` again with the states of stateful layers set to zero first.
    `started`: the metrics of the weights this fit started from, where it continues an earlier one.
    `ema_values`: metrics of the moving average that Keras put into the model at the end ("average") and of what a
    ModelCheckpoint saved ("saved"), where the optimizer keeps one.
    `in_one_batch`: `evaluated` again with all rows in one batch, for metrics that may average over batches.
    `scored`: epoch -> values, for models with a train step of their own.
    `end_of_epoch`: epoch -> metric -> value over the epoch's own batches, in training mode, all with its last weights.
    `no_replay`: why values that need replay are missing, or None."""

    trace: Trace
    decisions: tuple[Watcher, ...]
    restoration: Restoration | None
    ledgers: tuple[Ledger, ...] = ()
    reevaluated: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    evaluated: Mapping[str, float] = field(default_factory=dict)
    held_validation: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[int, EpochCheck] = field(default_factory=dict)
    from_zero_state: Mapping[str, float] = field(default_factory=dict)
    in_one_batch: Mapping[str, float] = field(default_factory=dict)
    scored: Mapping[int, Scored] = field(default_factory=dict)
    started: Mapping[str, float] = field(default_factory=dict)
    ema_values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    end_of_epoch: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    no_replay: str | None = None

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

    def ledger(self, metric: str, epoch: int) -> Ledger | None:
        return next((x for x in self.ledgers if x.metric == metric and x.epoch == epoch), None)
