"""What each file that a ModelCheckpoint wrote holds, against the logged values it is named by or was chosen for. Reads
the trace only."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from diagnose.decide.ema import made_by_update
from diagnose.decide.verdict import Clock, clock, epoch_of
from diagnose.result.diagnosis import SavedModel, Span
from diagnose.tracefile.events import FileSaved, WeightsChanged
from diagnose.tracefile.model import Epoch, Event, State
from diagnose.tracefile.reader import Trace

MOST = 40
"""Files told of, the last ones."""

MOST_EVALUATED = 6
"""Files whose weights are evaluated again, the last ones."""


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
    state = made_by_update(trace, version)
    for event in trace.events_of(WeightsChanged):
        if event.seq < seq and event.step == version:
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
    owned = set(when.owners) & set(held)
    if not held or when.foreign is not None:
        verdict = "replaced"
    elif not when.owners:
        verdict = "no-owner"
    else:
        verdict = "aligned" if owned else "shifted"
    shift = held[-1] - when.owners[-1] if verdict == "shifted" else (0 if verdict == "aligned" else None)
    span = None if when.span is None else Span(when.span.first, when.span.last)
    return replace(
        base,
        metric=key,
        logged=float(epoch.logs[key]),
        computed_at=span,
        owner_versions=when.owners,
        shift_updates=shift,
        verdict=verdict,  # type: ignore[arg-type]
    )


def _named_by(trace: Trace, event: Event[FileSaved]) -> list[str]:
    """The logged values a file was chosen for or has in its name."""
    callbacks, place = trace.header.callbacks, event.detail.place
    if place >= len(callbacks):
        return []
    settings = callbacks[place].settings
    keys = [str(settings["monitor"])] if settings.get("save_best_only") and settings.get("monitor") else []
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(str(settings.get("filepath") or "")) if name]
    except ValueError:
        fields = []
    return list(dict.fromkeys([*keys, *(name for name in fields if name not in ("epoch", "batch"))]))
