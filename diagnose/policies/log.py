"""What policies look at: the values of each epoch, in order. Reads the trace and finished measurements only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from diagnose.decide.better import Mode, believed
from diagnose.decide.clock import metric_of, prefixes
from diagnose.decide.watched import Watcher
from diagnose.tracefile.reader import Trace

Values = tuple[float | None, ...]
"""One value per epoch; None where there is none."""


@dataclass(frozen=True, slots=True)
class Log:
    """The finished epochs of one fit.

    `epochs`: as Keras prints them, ascending. `logged` and `reevaluated`: one value per epoch (of its logs; of its last
    weights). `planned`: the last epoch that fit was to train, None where that is not known. `modes`: which way a metric
    is better, by its name without `val_`."""

    epochs: tuple[int, ...]
    logged: Mapping[str, Values]
    reevaluated: Mapping[str, Values] = field(default_factory=dict)
    planned: int | None = None
    modes: Mapping[str, Mode] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether training went on to the last epoch planned."""
        return bool(self.epochs) and self.planned is not None and self.epochs[-1] >= self.planned

    def base(self, name: str) -> str:
        """The metric a name in the logs stands for: without `val_`, or what a callback of ours put before it."""
        for prefix in ("val_", *self.prefixes):
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name

    def mode(self, name: str) -> Mode | None:
        """Which way a logged value is better, as far as the trace tells."""
        return self.modes.get(name) or self.modes.get(self.base(name))


def log_of(trace: Trace, decisions: tuple[Watcher, ...], reevaluated: Mapping[int, Mapping[str, float]]) -> Log:
    """The log of a trace, with what is known of its epochs' last weights."""
    epochs = trace.epochs
    names = dict.fromkeys(name for e in epochs for name in e.logs)
    again = dict.fromkeys(name for values in reevaluated.values() for name in values)
    planned = trace.header.fit.arguments.epochs
    return Log(
        epochs=tuple(e.epoch for e in epochs),
        logged={name: tuple(_number(e.logs.get(name)) for e in epochs) for name in names},
        reevaluated={name: tuple(reevaluated.get(e.epoch, {}).get(name) for e in epochs) for name in again},
        planned=planned if isinstance(planned, int) else None,
        modes=_modes(trace, decisions, [*names, *again]),
        prefixes=prefixes(trace),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _modes(trace: Trace, decisions: tuple[Watcher, ...], names: Iterable[str]) -> dict[str, Mode]:
    """By what is known of the metrics, and by what callbacks of the fit went by."""
    metrics = ["loss", *(metric_of(trace, name) for name in names)]
    found: dict[str, Mode] = {m: mode for m in metrics if (mode := believed(trace, m)) is not None}
    for decision in decisions:
        if decision.direction is not None:
            found.setdefault(decision.monitor, decision.direction)
    return found
