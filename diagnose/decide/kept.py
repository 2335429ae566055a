"""What a ModelCheckpoint or an EarlyStopping kept: by the recorded events that say it; by equal values only where none
does, and then it is said so. And what each file holds, against the logged values it is named by or was chosen for.
Reads the trace only."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from diagnose.decide.better import Logged, choose
from diagnose.decide.callbacks import callbacks
from diagnose.decide.clock import clock, epoch_of
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Clock, SavedModel, Verdict
from diagnose.tracefile.events import FileSaved, WeightsChanged
from diagnose.tracefile.model import Epoch, Event, State
from diagnose.tracefile.reader import Trace

MOST = 40
"""Files told of, the last ones."""

MOST_EVALUATED = 6
"""Files whose weights are evaluated again, the last ones."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The finished epoch whose file a ModelCheckpoint wrote last, the `version` then, and the weights in the file
    (None: not certain). `known_by`: "event": it was seen to be written; "equal-values": this epoch is the first that
    logged what the callback calls its best after fit."""

    epoch: Epoch
    version: int
    state: State | None
    known_by: Literal["event", "equal-values"]


def kept_by(trace: Trace, checkpoint: Watcher) -> Kept | None:
    """What a `ModelCheckpoint(save_best_only=True)` kept of this fit; None where that is not known, or nothing."""
    seen = checkpoint.saves(trace)
    if seen:
        epoch = next((e for e in trace.epochs if e.epoch == seen[-1].epoch), None)
        version = seen[-1].detail.version
        return None if epoch is None else Kept(epoch, version, _state_at(trace, version, seen[-1].seq), "event")
    if checkpoint.settings.get("save_freq", "epoch") != "epoch":
        return None
    epoch = _first_with_best(trace, checkpoint)
    # A best from before the fit is no epoch's of it, whatever it is equal to.
    if epoch is None or (checkpoint.start is not None and not checkpoint.compared()):
        return None
    return Kept(epoch, epoch.last_version, _state_at_turn(trace, epoch, checkpoint), "equal-values")


def kept_epoch(trace: Trace, watcher: Watcher) -> int | None:
    """The (1-based) epoch that a callback of Keras took for its best in this fit; None where that is not known."""
    if watcher.kind == "checkpoint" and (found := kept_by(trace, watcher)) is not None:
        return found.epoch.epoch
    if watcher.kind == "early-stopping":
        return chosen(watcher, trace.epochs)
    epoch = _first_with_best(trace, watcher)
    return None if epoch is None else epoch.epoch


def chosen(stopping: Watcher, epochs: Sequence[Epoch]) -> int | None:
    """The (1-based) epoch that an EarlyStopping took for its best; None where it saw no value, or which way is better
    is not known.

    Its own record of it counts where its `best` is what was logged for that epoch; older releases, and classes of the
    user's, have none. Else its settings tell."""
    values = logged(stopping.monitor, epochs)
    recorded, best = stopping.settings.get("best_epoch"), stopping.settings.get("best")
    if isinstance(recorded, int) and any(e == recorded + 1 and _equal(v, best) for e, v in values):
        return recorded + 1
    return choose(values, stopping.direction, stopping.settings)


def logged(monitor: str, epochs: Sequence[Epoch]) -> Logged:
    """(epoch, value) wherever the value is a number."""
    return [(e.epoch, float(e.logs[monitor])) for e in epochs if isinstance(e.logs.get(monitor), (int, float))]


def _first_with_best(trace: Trace, watcher: Watcher) -> Epoch | None:
    best = watcher.settings.get("best")
    return next((e for e in trace.epochs if best is not None and e.logs.get(watcher.monitor) == best), None)


def _equal(value: float, best: Any) -> bool:
    return isinstance(best, (int, float)) and (value == best or (math.isnan(value) and math.isnan(best)))


def saved_models(trace: Trace) -> tuple[SavedModel, ...]:
    """One entry for each file and each logged value it is named by or was chosen for, in the order they were last
    written; `value` is left empty. Files without such a value have one entry."""
    last: dict[str, Event[FileSaved]] = {}
    for event in trace.events_of(FileSaved):
        last.pop(event.detail.path, None)
        last[event.detail.path] = event
    found = [entry for event in list(last.values())[-MOST:] for entry in _entries(trace, event)]
    return tuple(found)


def state_saved(trace: Trace, saved: SavedModel) -> State | None:
    """The weights that a file holds."""
    event = next(e for e in trace.events_of(FileSaved) if e.seq == saved.event)
    return _state_at(trace, event.detail.version, event.seq)


def _state_at(trace: Trace, version: int, seq: int) -> State | None:
    """The weights in the model at an event: those of the version, or what callbacks whose turn came before made of
    them."""
    state = trace.index.made(version)
    for event in trace.events_of(WeightsChanged):
        if event.seq < seq and event.step == version:
            state = trace.states[event.detail.after]
    return state


def _state_at_turn(trace: Trace, epoch: Epoch, checkpoint: Watcher) -> State | None:
    """The same where no event says when the file was written: what the model held when the callback's turn came. None
    where names do not tell the callbacks apart."""
    turns = {cb.name: cb.place for cb in callbacks(trace)}
    if len(turns) < len(callbacks(trace)):
        return None
    state = trace.index.made(epoch.last_version)
    for event in trace.index.events_of(WeightsChanged, epoch.epoch):
        if event.step == epoch.last_version:
            who = event.detail.callback or ""
            if event.detail.hook == "on_epoch_end" and turns.get(who, -1) > checkpoint.place:
                break
            state = trace.states[event.detail.after]
    return state


def _entries(trace: Trace, event: Event[FileSaved]) -> Iterator[SavedModel]:
    detail, version = event.detail, event.detail.version
    state = _state_at(trace, version, event.seq)
    epoch = next((e for e in trace.epochs if e.epoch == event.epoch), None)
    held = () if state is None else trace.index.versions_of(state)
    base = SavedModel(
        callback=str(detail.callback),
        file=PurePath(detail.path).name,
        epoch=event.epoch,
        version=held[-1] if held else None,
        version_epoch=None if not held else epoch_of(trace, held[-1]),
        event=event.seq,
    )
    keys: list[str | None] = [*_named_by(trace, event)]
    for key in keys or [None]:
        logged = None if epoch is None or key is None else epoch.logs.get(key)
        if epoch is None or key is None or not isinstance(logged, (int, float)):
            yield base
            continue
        yield _judged(base, epoch, key, clock(trace, epoch, key), held)


def _judged(base: SavedModel, epoch: Epoch, key: str, when: Clock, held: Sequence[int]) -> SavedModel:
    verdict: Verdict = "no-owner"
    if not held or when.written_by is not None:
        verdict = "replaced"
    elif when.owners:
        verdict = "aligned" if set(when.owners) & set(held) else "shifted"
    shift = held[-1] - when.owners[-1] if verdict == "shifted" else (0 if verdict == "aligned" else None)
    return replace(
        base,
        metric=key,
        logged=float(epoch.logs[key]),
        computed_at=when.span,
        owner_versions=when.owners,
        shift_updates=shift,
        verdict=verdict,
    )


def _named_by(trace: Trace, event: Event[FileSaved]) -> list[str]:
    """The logged values a file was chosen for or has in its name."""
    listed, place = callbacks(trace), event.detail.place
    if place >= len(listed):
        return []
    settings = listed[place].settings
    keys = [str(settings["monitor"])] if settings.get("save_best_only") and settings.get("monitor") else []
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(str(settings.get("filepath") or "")) if name]
    except ValueError:
        fields = []
    return list(dict.fromkeys([*keys, *(name for name in fields if name not in ("epoch", "batch"))]))
