"""At which level each epoch of a fit was recorded. Judges nothing."""

from __future__ import annotations

from diagnose.tracefile.events import LevelChanged
from diagnose.tracefile.reader import Trace

LEVELS = (0, 1, 2, 3)


def levels(trace: Trace) -> dict[int, int]:
    """(1-based) epoch -> the least level at which steps of it were recorded. Empty for a trace of a release without
    levels."""
    first = trace.header.policy.level
    if first not in LEVELS:
        return {}
    changes = [(event.step or 0, event.detail.level) for event in trace.events_of(LevelChanged)]
    found: dict[int, int] = {}
    level, place = int(first or 0), 0
    for epoch in trace.epochs:
        inside = []
        while place < len(changes) and changes[place][0] < epoch.last_version:
            step, changed = changes[place]
            # From the epoch's beginning on, nothing of it was recorded at the level before.
            if step <= epoch.first_version:
                level = changed
            else:
                inside.append(changed)
            place += 1
        found[epoch.epoch] = min([level, *inside])
        level = inside[-1] if inside else level
    return found
