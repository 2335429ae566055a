"""What is known before a fit of how long it will be and of how little may be recorded, for a level that is chosen. Runs
on the training thread, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnose.frameworks.keras import fits
from diagnose.record.own_code import why_not_again
from diagnose.record.recorder import Recorder


def plan_levels(recorder: Recorder, arguments: Mapping[str, Any], iterator: Any) -> None:
    """`arguments`: the local variables of `fit`; `iterator`: its epoch iterator, if it was found."""
    if recorder.choice is None:
        return
    epochs, first = arguments.get("epochs"), arguments.get("initial_epoch") or 0
    steps = None if iterator is None else fits.steps(iterator)
    known = max(0, epochs - first) if isinstance(epochs, int) and isinstance(first, int) else None
    recorder.choice.plan(known, steps if isinstance(steps, int) else None)
    because = why_not_again(recorder.model, recorder.backend)
    if because is not None:
        recorder.look_at_every_step(because)
