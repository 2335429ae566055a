"""What a trace says of each callback of the fit: the one reader of it. Reads the trace only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from diagnose.tracefile.about import Threshold
from diagnose.tracefile.events import CallbacksFinal
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class Callback:
    """`place` is its index among the fit's callbacks, `family` its class and the classes that one derives from.
    `builtin`: whether Keras defines it. `settings` are those after fit where that was reached (`finished`), `start`
    those after all callbacks' `on_train_begin` (None in traces that lack them), `held_weights` and `used_before` as of
    then. `reads`: hook -> keys of the logs its code reads, None in traces that lack them; `thresholds` as recorded."""

    place: int
    family: tuple[str, ...]
    builtin: bool
    settings: Mapping[str, Any]
    finished: bool
    start: Mapping[str, Any] | None = None
    held_weights: bool | None = None
    used_before: bool = False
    hooks: Sequence[str] = ()
    reads: Mapping[str, Sequence[str]] | None = None
    thresholds: Sequence[Threshold] = ()

    @property
    def name(self) -> str:
        return self.family[0]

    @property
    def of_keras(self) -> bool:
        """Whether all it does is Keras's own; a `LambdaCallback` does what the user's functions do."""
        return self.builtin and self.name != "LambdaCallback"


_KNOWN: WeakKeyDictionary[Trace, tuple[Callback, ...]] = WeakKeyDictionary()


def callbacks(trace: Trace) -> tuple[Callback, ...]:
    """In their order."""
    if trace not in _KNOWN:
        _KNOWN[trace] = _read(trace)
    return _KNOWN[trace]


def _read(trace: Trace) -> tuple[Callback, ...]:
    described, start = trace.header.callbacks, trace.header.callbacks_at_start
    ended = next(iter(trace.events_of(CallbacksFinal)), None)
    found = []
    for place, cb in enumerate(described if ended is None else ended.detail.callbacks):
        before = start[place] if place < len(start) == len(described) else None
        first = described[place] if place < len(described) else cb
        found.append(
            Callback(
                place,
                cb.family,
                cb.builtin,
                cb.settings,
                ended is not None,
                None if before is None else before.settings,
                None if before is None else before.best_weights,
                before is not None and before.used_before,
                cb.hooks,
                first.reads,
                cb.thresholds,
            )
        )
    return tuple(found)
