"""Recorded metric state: the bytes of all metric variables, one after the other, as values. The one decoder of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from diagnose.tracefile.about import MetricVariable
from diagnose.tracefile.model import NDArray, Step


@dataclass(frozen=True, slots=True)
class Slot:
    """One metric variable: its metric by the name in the logs, its own name, and where it stands in the bytes."""

    log: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def layout(described: Iterable[MetricVariable]) -> list[Slot]:
    """Where the variables stand that `header.metric_variables` describes; none where a dtype is not NumPy's."""
    found: list[Slot] = []
    for v in described:
        try:
            dtype = np.dtype(v.dtype)
        except TypeError:
            return []
        start = found[-1].end if found else 0
        found.append(Slot(v.metric if v.log is None else v.log, v.name, dtype, v.shape, start))
    return found


def arrays(slots: Iterable[Slot], raw: bytes) -> list[NDArray] | None:
    """All variables; None where the bytes are those of others."""
    listed = list(slots)
    if len(raw) != (listed[-1].end if listed else 0):
        return None
    return [np.frombuffer(raw[slot.start : slot.end], slot.dtype).reshape(slot.shape) for slot in listed]


def added(slots: Iterable[Slot], before: bytes | None, after: bytes) -> dict[str, dict[str, float]]:
    """metric, by its name in the logs -> variable -> what was added to it (`before` None: from zero); scalar variables
    only, as far as both reach."""
    length = len(after) if before is None else min(len(after), len(before))
    found: dict[str, dict[str, float]] = {}
    for slot in slots:
        if slot.end > length:
            break
        if not slot.shape:
            value = float(np.frombuffer(after[slot.start : slot.end], slot.dtype)[0])
            if before is not None:
                value -= float(np.frombuffer(before[slot.start : slot.end], slot.dtype)[0])
            found.setdefault(slot.log, {})[slot.name] = value
    return found


def means(found: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """metric -> (total, count), of those that keep just these two."""
    return {name: (v["total"], v["count"]) for name, v in found.items() if set(v) == {"total", "count"}}


@dataclass(frozen=True, slots=True)
class Carried:
    """metric -> in how many epochs it did not begin anew; those that were reset in part; and in how many epochs this
    could be seen."""

    epochs: Mapping[str, int]
    partly: frozenset[str]
    known: int


def carried(slots: Sequence[Slot], epochs: Sequence[Sequence[Step]]) -> Carried:
    """Which metrics keep from one epoch to the next what they have added up.

    A metric that is reset begins every epoch alike. So one does not whose state, as far as steps move it, is another
    than before the fit's first step; where that was not recorded (a metric may be made in it), one that begins as the
    epoch before it had left it, or otherwise than the epoch before had begun. A mean begins at 0.
    """
    found: dict[str, int] = {}
    partly: set[str] = set()
    known = 0
    start = _read(slots, epochs[0][0].metrics_before) if epochs and epochs[0] else None
    last: list[NDArray] | None = None
    names: dict[str, set[str]] = {}
    for slot in slots:
        names.setdefault(slot.log, set()).add(slot.name)
    for before, after in pairwise(epochs):
        left = _read(slots, before[-1].metrics_after) if before else None
        now = _read(slots, after[0].metrics_before) if after else None
        if left is None or now is None:
            continue
        known += 1
        first = start or last
        began = [np.zeros_like(a) for a in now] if first is None else first
        # One that is never updated is as it began, too; what moves between epochs only, no step moves.
        own = _read(slots, before[0].metrics_before) or began
        moved = [i for i in range(len(slots)) if left[i].tobytes() != own[i].tobytes()]
        kept = {slots[i].log for i in moved if now[i].tobytes() != began[i].tobytes()}
        if first is None:
            other = {slot.log for i, slot in enumerate(slots) if now[i].tobytes() != left[i].tobytes()}
            kept -= {name for name in other if names[name] != {"total", "count"}}
        for name in kept:
            found[name] = found.get(name, 0) + 1
        partly |= kept & {slots[i].log for i in moved if now[i].tobytes() == began[i].tobytes()}
        last = now
    return Carried(found, frozenset(partly), known)


def _read(slots: Iterable[Slot], raw: bytes | None) -> list[NDArray] | None:
    return None if raw is None else arrays(slots, raw)
