"""The callbacks of Keras that compare a logged value with the best so far, as they were before and after the fit. Reads
the trace only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from diagnose.tracefile.events import CallbacksFinal, FileSaved
from diagnose.tracefile.model import Epoch, Event
from diagnose.tracefile.reader import Trace

Kind = Literal["early-stopping", "checkpoint", "plateau"]

_KINDS: Final[dict[str, Kind]] = {
    "EarlyStopping": "early-stopping", "ModelCheckpoint": "checkpoint", "ReduceLROnPlateau": "plateau",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Watcher:
    """`place` is its index in the header's callbacks. `settings` are those after fit where that was reached
    (`finished`). `start` are those after all callbacks' `on_train_begin`, None in traces that lack them;
    `held_weights` and `used_before` as of then."""

    place: int
    callback: str
    kind: Kind
    monitor: str
    builtin: bool
    settings: Mapping[str, Any]
    finished: bool
    start: Mapping[str, Any] | None = None
    held_weights: bool | None = None
    used_before: bool = False

    @property
    def direction(self) -> Literal["min", "max"] | None:
        """Which way it compared, as Keras decided it; None where it never did, or does not show it."""
        op = self.settings.get("monitor_op")
        return {"less": "min", "greater": "max"}.get(op) if isinstance(op, str) else None  # type: ignore[return-value]

    @property
    def best(self) -> float | None:
        """The best value it has seen, None for none."""
        return best_of(self.settings)

    @property
    def best_at_start(self) -> float | None:
        return None if self.start is None else best_of(self.start)

    def compared(self) -> bool:
        """Whether it saw a value in this fit. Keras 3.8 to 3.14 may begin with an infinite best."""
        return self.best is not None and (self.start is None or self.best != self.best_at_start)

    def value(self, epoch: Epoch) -> float | None:
        """What the epoch's log holds for it; None for none, or one that is no number."""
        value = epoch.logs.get(self.monitor)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def valued(self, trace: Trace) -> list[tuple[Epoch, float]]:
        """The epochs that logged a number for it."""
        found = [(e, self.value(e)) for e in trace.epochs]
        return [(e, v) for e, v in found if v is not None and not math.isnan(v)]

    def saves(self, trace: Trace) -> list[Event[FileSaved]]:
        """The files it was seen to write."""
        return [e for e in trace.events_of(FileSaved) if e.detail.place == self.place]


def best_of(settings: Mapping[str, Any]) -> float | None:
    """A callback's `best`; None for none yet (None, or infinite)."""
    value = settings.get("best")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isinf(value):
        return None
    return float(value)


def best_epoch(valued: list[tuple[Epoch, float]], direction: str) -> tuple[Epoch, float]:
    """The first of the best; `valued` is not empty."""
    return min(valued, key=lambda pair: pair[1] if direction == "min" else -pair[1])


def watchers(trace: Trace) -> tuple[Watcher, ...]:
    """In callback order. A `ModelCheckpoint` that saves in any case compares nothing, and is none."""
    described, start = trace.header.callbacks, trace.header.callbacks_at_start
    final = next((e.detail.callbacks for e in trace.events_of(CallbacksFinal)), None)
    found = []
    for place, cb in enumerate(described if final is None else final):
        settings, family = cb.settings, cb.family
        kind = next((_KINDS[name] for name in family if name in _KINDS), None)
        monitor = settings.get("monitor")
        if (
            kind is None
            or not isinstance(monitor, str)
            or (kind == "checkpoint" and not settings.get("save_best_only"))
        ):
            continue
        before = start[place] if place < len(start) == len(described) else None
        found.append(
            Watcher(
                place,
                cb.class_name,
                kind,
                monitor,
                cb.builtin,
                settings,
                final is not None,
                None if before is None else before.settings,
                None if before is None else before.best_weights,
                before is not None and before.used_before,
            )
        )
    return tuple(found)
