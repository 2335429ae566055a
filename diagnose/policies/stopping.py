"""The policies: each a pure function of an epoch's values. Keras's own are as in its source; the others are an
EarlyStopping over a value, or with a patience, of their own."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Final, Literal, Protocol

from diagnose.decide.better import Mode, better
from diagnose.policies.log import Log
from diagnose.result.texts import Said, Text

Operator = Literal["<", "<=", ">", ">="]
_OPERATORS: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


EARLY_STOPPING = Text(
    "policy.early-stopping",
    "EarlyStopping on {again:given(re-evaluated )}{monitor}, patience {patience}{min_delta:given(, min_delta "
    "{min_delta:g})}{baseline:given(, baseline {baseline:g})}{start:given(, from epoch {start})}"
    "{restores:given(|, no restore)}",
)
DYNAMIC_PATIENCE = Text(
    "policy.dynamic-patience", "dynamic patience on {monitor}, {patience} or {growth:g} x best epoch"
)
SMOOTHED = Text("policy.smoothed", "smoothed {monitor}, alpha {alpha:g}, patience {patience}")
WEIGHTED = Text("policy.weighted", "weighted {monitor}, patience {patience}")
THRESHOLD = Text("policy.threshold", "stop at {monitor} {op} {value:g}")
PLATEAU = Text("policy.plateau", "ReduceLROnPlateau on {monitor}, patience {patience}")
NO_STOPPING = Text("policy.no-stopping", "no stopping")
LOWERED = Text("unanswerable.lowered", "it would have lowered the learning rate after epoch {epoch}")
NOT_KNOWN = Text("unanswerable.not-known", "re-evaluated {metric} of epoch {epoch} is not known")
NOT_AGAIN = Text("unanswerable.not-again", "no epoch's {metric} was evaluated again")
NOT_LOGGED = Text("unanswerable.not-logged", "this fit logged no '{metric}'")
NO_MODE = Text("unanswerable.no-mode", "the trace does not say whether a larger '{metric}' is better; say mode=")


class Unanswerable(Exception):
    """The trace cannot say what this policy would have done; `reason` says why, as the end of a sentence."""

    def __init__(self, reason: Said) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """`stopped`: the epoch after which it ends training, None: it lets it run on. `best`: the epoch its own number is
    best in, and `number` that value. `restored`: the epoch whose last weights it puts back, None: it restores
    nothing."""

    stopped: int | None
    best: int | None = None
    number: float | None = None
    restored: int | None = None


class Policy(Protocol):
    """A stopping policy. `label` names it in a table; `monitor` what it goes by."""

    @property
    def monitor(self) -> str: ...

    @property
    def label(self) -> str: ...

    def replay(self, log: Log) -> Outcome:
        """What it would have done in this fit.

        Raises:
            Unanswerable: the log does not tell.
        """
        ...


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """`keras.callbacks.EarlyStopping` (keras/src/callbacks/early_stopping.py, 3.15.1), with its arguments.

    `reevaluated`: go by the metric of each epoch's last weights, not by the logged value."""

    monitor: str = "val_loss"
    min_delta: float = 0.0
    patience: int = 0
    mode: str = "auto"
    baseline: float | None = None
    restore_best_weights: bool = False
    start_from_epoch: int = 0
    reevaluated: bool = False

    @property
    def label(self) -> str:
        return EARLY_STOPPING(
            again=self.reevaluated,
            monitor=self.monitor,
            patience=self.patience,
            min_delta=self.min_delta or None,
            baseline=self.baseline,
            start=self.start_from_epoch + 1 if self.start_from_epoch else None,
            restores=bool(self.restore_best_weights),
        )

    def replay(self, log: Log) -> Outcome:
        return _early_stopping(
            log,
            _series(log, self.monitor, again=self.reevaluated),
            _mode(log, self.monitor, self.mode),
            lambda best: self.patience,
            needed=self.monitor if self.reevaluated else None,
            min_delta=self.min_delta,
            baseline=self.baseline,
            start_from_epoch=self.start_from_epoch,
            restore=self.restore_best_weights,
        )


@dataclass(frozen=True, slots=True)
class DynamicPatience:
    """Waits `patience` epochs, or `growth` times the epochs it took to the best one, whichever is more; restores it."""

    monitor: str = "val_loss"
    patience: int = 0
    growth: float = 0.5
    mode: str = "auto"

    @property
    def label(self) -> str:
        return DYNAMIC_PATIENCE(monitor=self.monitor, patience=self.patience, growth=self.growth)

    def replay(self, log: Log) -> Outcome:
        series = _series(log, self.monitor)
        first = log.epochs[0] if log.epochs else 1

        def patience(best: int) -> int:
            return max(self.patience, math.ceil(self.growth * (best - first + 1)))

        return _early_stopping(log, series, _mode(log, self.monitor, self.mode), patience)


@dataclass(frozen=True, slots=True)
class Smoothed:
    """EarlyStopping on the exponentially smoothed value, s = alpha * value + (1 - alpha) * s; restores."""

    monitor: str = "val_loss"
    alpha: float = 0.3
    patience: int = 0
    mode: str = "auto"

    @property
    def label(self) -> str:
        return SMOOTHED(monitor=self.monitor, alpha=self.alpha, patience=self.patience)

    def replay(self, log: Log) -> Outcome:
        smoothed: list[float | None] = []
        last: float | None = None
        for value in _series(log, self.monitor):
            if value is not None:
                last = value if last is None else self.alpha * value + (1 - self.alpha) * last
            smoothed.append(None if value is None else last)
        return _early_stopping(log, smoothed, _mode(log, self.monitor, self.mode), lambda best: self.patience)


@dataclass(frozen=True, slots=True)
class Weighted:
    """EarlyStopping on a weighted sum of several logged values; restores. Epochs that lack one of them are passed
    over."""

    weights: tuple[tuple[str, float], ...]
    mode: str = "max"
    patience: int = 0

    @property
    def monitor(self) -> str:
        terms = " ".join(f"{weight:+g} {name}" for name, weight in self.weights)
        return terms.removeprefix("+")

    @property
    def label(self) -> str:
        return WEIGHTED(monitor=self.monitor, patience=self.patience)

    def replay(self, log: Log) -> Outcome:
        columns = [_series(log, name) for name, _ in self.weights]
        totals: list[float | None] = []
        for row in zip(*columns, strict=True):
            known = [value for value in row if value is not None]
            complete = len(known) == len(row)
            totals.append(sum(w * v for (_, w), v in zip(self.weights, known, strict=True)) if complete else None)
        return _early_stopping(log, totals, _mode(log, self.monitor, self.mode), lambda best: self.patience)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Stops after the first epoch whose value reaches a threshold, and keeps what the model then holds."""

    monitor: str
    value: float
    op: Operator = ">="

    @property
    def label(self) -> str:
        return THRESHOLD(monitor=self.monitor, op=self.op, value=self.value)

    def replay(self, log: Log) -> Outcome:
        for epoch, value in zip(log.epochs, _series(log, self.monitor), strict=True):
            if value is not None and _OPERATORS[self.op](value, self.value):
                return Outcome(epoch, epoch, value)
        return Outcome(None)


@dataclass(frozen=True, slots=True)
class ReduceLROnPlateau:
    """`keras.callbacks.ReduceLROnPlateau` (3.15.1). From the first time it lowers the rate on, training would have been
    another."""

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 1e-4
    mode: str = "auto"

    @property
    def label(self) -> str:
        return PLATEAU(monitor=self.monitor, patience=self.patience)

    def replay(self, log: Log) -> Outcome:
        mode = _mode(log, self.monitor, self.mode)
        best, wait = math.inf if mode == "min" else -math.inf, 0
        for epoch, value in zip(log.epochs, _series(log, self.monitor), strict=True):
            if value is None:
                continue
            if better(value, best, mode, self.min_delta):
                best, wait = value, 0
                continue
            wait += 1
            if wait >= self.patience:
                raise Unanswerable(LOWERED(epoch=epoch))
        return Outcome(None)


@dataclass(frozen=True, slots=True)
class NoStopping:
    """Trains to the end and keeps the last weights."""

    @property
    def monitor(self) -> str:
        return ""

    @property
    def label(self) -> str:
        return NO_STOPPING()

    def replay(self, log: Log) -> Outcome:
        return Outcome(None)


POLICIES: Final = {
    kind.__name__: kind
    for kind in (EarlyStopping, DynamicPatience, Smoothed, Weighted, Threshold, ReduceLROnPlateau, NoStopping)
}


def code(policy: Policy) -> str:
    """The policy as an expression, with what it monitors and the arguments that are not the default."""
    given = []
    for item in fields(policy):  # type: ignore[arg-type]  # every policy is a dataclass
        value = getattr(policy, item.name)
        if item.name == "monitor" or item.default is MISSING or value != item.default:
            given.append(f"{item.name}={value!r}")
    return f"{type(policy).__name__}({', '.join(given)})"


def _early_stopping(
    log: Log,
    values: Sequence[float | None],
    mode: Mode,
    patience: Callable[[int], int],
    *,
    needed: str | None = None,
    min_delta: float = 0.0,
    baseline: float | None = None,
    start_from_epoch: int = 0,
    restore: bool = True,
) -> Outcome:
    """`EarlyStopping.on_epoch_end`, epoch by epoch.

    Args:
        patience: of the (1-based) best epoch so far.
        needed: the re-evaluated metric that may not be missing; None: an epoch without a value is passed over, as
            Keras does.
    """
    best_epoch: int | None = None
    best: float | None = None
    wait = 0
    for epoch, value in zip(log.epochs, values, strict=True):
        if value is None and needed is not None:
            raise Unanswerable(NOT_KNOWN(metric=needed, epoch=epoch))
        if value is None or epoch - 1 < start_from_epoch:
            continue
        wait += 1
        if best is None or better(value, best, mode, min_delta):
            best, best_epoch = value, epoch
            if baseline is None or better(value, baseline, mode, min_delta):
                wait = 0
            continue
        # Keras counts epochs from 0 and never stops after the first.
        if wait >= patience(best_epoch or epoch) and epoch > 1:
            return Outcome(epoch, best_epoch, best, best_epoch if restore else None)
    return Outcome(None, best_epoch, best, best_epoch if restore else None)


def _series(log: Log, name: str, *, again: bool = False) -> Sequence[float | None]:
    found = (log.reevaluated if again else log.logged).get(name)
    if found is None or all(value is None for value in found):
        if again:
            raise Unanswerable(NOT_AGAIN(metric=name))
        raise Unanswerable(NOT_LOGGED(metric=name))
    return found


def _mode(log: Log, name: str, asked: str) -> Mode:
    if asked in ("min", "max"):
        return "min" if asked == "min" else "max"
    mode = log.mode(name)
    if mode is None:
        raise Unanswerable(NO_MODE(metric=name))
    return mode
