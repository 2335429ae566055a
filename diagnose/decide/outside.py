"""Numbers outside the model's variables that changed during the fit, by epoch. Reads the trace only."""

from __future__ import annotations

from dataclasses import dataclass

from diagnose.tracefile.events import OutsideChanged
from diagnose.tracefile.reader import Trace

MOST = 20
TRAINABLE = "trainable"


@dataclass(frozen=True, slots=True)
class Flipped:
    """A layer's `trainable` became `now`, seen after so many updates, and stayed so until `end` (None: to the end)."""

    layer: str
    now: bool
    after: int
    end: int | None


def flipped(trace: Trace) -> tuple[Flipped, ...]:
    """Flags that something changed while the fit ran."""
    by_layer: dict[str, list[tuple[int, bool]]] = {}
    for event in trace.events_of(OutsideChanged):
        if event.detail.name == TRAINABLE and event.detail.of.startswith("layer "):
            name = event.detail.of.removeprefix("layer ").strip("'")
            by_layer.setdefault(name, []).append((event.step or 0, event.detail.after == 1.0))
    return tuple(
        Flipped(name, now, after, found[i + 1][0] if i + 1 < len(found) else None)
        for name, found in by_layer.items()
        for i, (after, now) in enumerate(found)
    )


@dataclass(frozen=True, slots=True)
class Changed:
    """`of` (the loss, a metric, a layer, a callback) holds it under `name`; `values`: (epoch, what it was when
    its first step began) of all epochs. `plain`: in no variable."""

    of: str
    name: str
    values: tuple[tuple[int, float], ...]
    plain: bool = False

    @property
    def moved(self) -> bool:
        """Whether it was not the same in all epochs."""
        return len({value for _, value in self.values}) > 1


def changed_outside(trace: Trace) -> tuple[Changed, ...]:
    """Those that were not the same in the steps of all epochs, the first `MOST`; flags of layers are none."""
    by_name: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    plain = set()
    for event in trace.events_of(OutsideChanged):
        place = (event.detail.of, event.detail.name)
        if event.detail.name == TRAINABLE:
            continue
        if place in by_name or len(by_name) < MOST:
            change = (event.step or 0, float(event.detail.before), float(event.detail.after))
            by_name.setdefault(place, []).append(change)
            plain |= {place} if event.detail.plain else set()
    found = []
    for (of, name), changes in by_name.items():
        values, at, now = [], 0, changes[0][1]
        for epoch in trace.epochs:
            while at < len(changes) and changes[at][0] <= epoch.first_version:
                now, at = changes[at][2], at + 1
            values.append((epoch.epoch, now))
        found.append(Changed(of, name, tuple(values), (of, name) in plain))
    return tuple(x for x in found if x.moved)
