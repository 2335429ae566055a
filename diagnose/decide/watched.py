"""Who watches what: which callbacks of a run go by which logged value, and what rests on it. Reads the trace only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from diagnose.decide.better import Mode, asked_for, believed, best, compared_for
from diagnose.decide.callbacks import Callback, callbacks
from diagnose.decide.clock import metric_of, source
from diagnose.decide.put_back import Own, kept_aside, put_back
from diagnose.result.diagnosis import Source
from diagnose.result.texts import Text
from diagnose.tracefile.events import FileSaved, StopRequested
from diagnose.tracefile.model import Epoch, Event
from diagnose.tracefile.reader import Trace

SCORE = Text("watched.score", "a score of {reads:and}")
OWN_RULE = Text("watched.own-rule", "a rule of its own")

Kind: TypeAlias = Literal["early-stopping", "checkpoint", "plateau"]
"""The callbacks of Keras that compare a logged value with the best so far."""

_KINDS: Final[dict[str, Kind]] = {
    "EarlyStopping": "early-stopping", "ModelCheckpoint": "checkpoint", "ReduceLROnPlateau": "plateau",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Watcher:
    """A callback and the logged value it goes by: `monitor` is a key of the logs, `kind` says what rests on it,
    `source` by what the value is computed. For the other fields, see `Callback`.

    For a threshold: `op` and `value` (None where the code does not show it), and the `hook` and `code` it stands in.
    Of a restore of the user's own, `own` is what it did, and `monitor` a name for what it goes by where that is not one
    logged value (`reads_one`)."""

    callback: str
    kind: Kind | Literal["threshold", "own-restore"]
    monitor: str
    settings: Mapping[str, Any]
    op: str | None = None
    value: float | None = None
    hook: str | None = None
    code: str | None = None
    source: Source = "train-steps"
    place: int = -1
    builtin: bool = False
    finished: bool = False
    start: Mapping[str, Any] | None = None
    held_weights: bool | None = None
    used_before: bool = False
    own: Own | None = None

    @property
    def on_training_value(self) -> bool:
        """Whether the value comes from train steps, not from a validation pass or an evaluation at the epoch's end."""
        return self.source == "train-steps"

    @property
    def reads_one(self) -> bool:
        """Whether `monitor` is a key of the logs."""
        return self.own is None or self.monitor in self.own.reads

    @property
    def direction(self) -> Mode | None:
        """Which way it compared, as Keras decided it, else as it was told to."""
        return asked_for(self.settings)

    @property
    def compared_for(self) -> Mode | None:
        """Which way it compared; None where it never did, or does not show it."""
        return compared_for(self.settings)

    @property
    def best(self) -> float | None:
        """The best value it has seen, None for none."""
        return _best_of(self.settings)

    @property
    def best_at_start(self) -> float | None:
        return None if self.start is None else _best_of(self.start)

    def compared(self) -> bool:
        """Whether it saw a value in this fit. Keras 3.8 to 3.14 may begin with an infinite best."""
        return self.best is not None and (self.start is None or self.best != self.best_at_start)

    def logged(self, epoch: Epoch) -> float | None:
        """What the epoch's log holds for it; None for none, or one that is no number."""
        value = epoch.logs.get(self.monitor)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def valued(self, trace: Trace) -> list[tuple[Epoch, float]]:
        """The epochs that logged a number for it."""
        found = [(e, self.logged(e)) for e in trace.epochs]
        return [(e, v) for e, v in found if v is not None and not math.isnan(v)]

    def saves(self, trace: Trace) -> list[Event[FileSaved]]:
        """The files it was seen to write."""
        return [e for e in trace.events_of(FileSaved) if e.detail.place == self.place]

    def stopped(self, trace: Trace) -> bool:
        """Whether it was seen to set `stop_training`."""
        return any(e.detail.callback == self.callback for e in trace.events_of(StopRequested))


def _best_of(settings: Mapping[str, Any]) -> float | None:
    """A callback's `best`; None for none yet (None, or infinite)."""
    value = settings.get("best")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isinf(value):
        return None
    return float(value)


def watchers(trace: Trace) -> tuple[Watcher, ...]:
    """The callbacks of Keras that compare, in callback order. A `ModelCheckpoint` that saves in any case is none."""
    return tuple(w for cb in callbacks(trace) for w in _comparing(trace, cb))


def decisions(trace: Trace) -> tuple[Watcher, ...]:
    """All that decides what a run stops at or keeps, in callback order; last, a restore of the user's own."""
    found = [w for cb in callbacks(trace) for w in (*_comparing(trace, cb), *_thresholds(trace, cb))]
    own = own_restore(trace)
    return tuple(w for w in (*found, *([] if own is None else [own])) if w.kind != "plateau")


def restoring(found: Iterable[Watcher]) -> Watcher | None:
    """Whose restore is judged: a callback of the user's own that left the model with earlier weights; else the first
    EarlyStopping that restores, else the first; where there is none, a callback that keeps weights aside."""
    listed = list(found)
    stopping = [w for w in listed if w.kind == "early-stopping"]
    own = next((w for w in listed if w.kind == "own-restore"), None)
    if own is not None and own.settings["restore_best_weights"]:
        return own
    for w in stopping:
        if w.settings.get("restore_best_weights"):
            return w
    return stopping[0] if stopping else own


def stopped_by(trace: Trace) -> str | None:
    """The callback seen to set `stop_training`, None if none did."""
    return next((e.detail.callback for e in trace.events_of(StopRequested) if e.detail.callback), None)


def _comparing(trace: Trace, cb: Callback) -> Iterator[Watcher]:
    kind = next((_KINDS[name] for name in cb.family if name in _KINDS), None)
    monitor = cb.settings.get("monitor")
    if kind is None or not isinstance(monitor, str):
        return
    if kind != "checkpoint" or cb.settings.get("save_best_only"):
        yield Watcher(
            cb.name,
            kind,
            monitor,
            cb.settings,
            source=source(trace, monitor),
            place=cb.place,
            builtin=cb.builtin,
            finished=cb.finished,
            start=cb.start,
            held_weights=cb.held_weights,
            used_before=cb.used_before,
        )


def _thresholds(trace: Trace, cb: Callback) -> Iterator[Watcher]:
    for t in cb.thresholds:
        where = source(trace, t.key)
        yield Watcher(cb.name, "threshold", t.key, cb.settings, t.op, t.value, t.hook, t.code, where, cb.place)


def own_restore(trace: Trace) -> Watcher | None:
    """The callback, not one of Keras's, that left the model with earlier weights, seen by what it did; where none did,
    one that keeps weights of an earlier epoch and did not put them back.

    Its monitor is the one logged value that its code reads, if the epoch is the best by it; else a name for what it
    goes by.
    """
    own = put_back(trace) or kept_aside(trace)
    if own is None:
        return None
    epoch = next((e for e in trace.epochs if e.epoch == own.epoch), None)
    key = own.reads[0] if len(own.reads) == 1 and own.part == "whole" else None
    mode = None if key is None else believed(trace, metric_of(trace, key))
    if key is not None and mode is not None:
        first = best([(e.epoch, v) for e in trace.epochs if (v := _number(e, key)) is not None], mode)
        there = None if epoch is None else _number(epoch, key)
        key = key if first is not None and there == first[1] else None
    sources = [source(trace, name) for name in own.reads]
    return Watcher(
        own.callback,
        "own-restore",
        key if key is not None else SCORE(reads=own.reads) if len(own.reads) > 1 else OWN_RULE(),
        {"restore_best_weights": own.back, "mode": mode, "put_back": own.epoch, "reads": list(own.reads)},
        source="train-steps" if "train-steps" in sources else sources[0] if sources else "own",
        place=own.place,
        own=own,
    )


def _number(epoch: Epoch, key: str) -> float | None:
    value = epoch.logs.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
