"""Which epoch an EarlyStopping takes for its best, by its own settings. Reads logged values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diagnose.decide.decisions import Decision
from diagnose.tracefile.model import Epoch

Logged = Sequence[tuple[int, float]]


def chosen(decision: Decision, epochs: Sequence[Epoch]) -> int | None:
    """The (1-based) epoch; None where it saw no value, or which way is better is not known.

    The callback's own record of it counts where its `best` is what was logged for that epoch; older releases, and
    classes of the user's, have none."""
    values = logged(decision.monitor, epochs)
    recorded, best = decision.settings.get("best_epoch"), decision.settings.get("best")
    if isinstance(recorded, int) and any(e == recorded + 1 and _equal(v, best) for e, v in values):
        return recorded + 1
    return choose(values, decision.direction, decision.settings)


def logged(monitor: str, epochs: Sequence[Epoch]) -> Logged:
    """(epoch, value) wherever the value is a number."""
    return [(e.epoch, float(e.logs[monitor])) for e in epochs if isinstance(e.logs.get(monitor), (int, float))]


def choose(values: Logged, direction: str | None, settings: Mapping[str, Any]) -> int | None:
    """`EarlyStopping.on_epoch_end` of Keras 3.15.1 (keras/src/callbacks/early_stopping.py): epochs before
    `start_from_epoch` are passed over, the first value is the best until one is better by more than `min_delta`, and
    nothing is better than NaN. `baseline` decides only when to stop."""
    if direction is None:
        return None
    start, delta = int(settings.get("start_from_epoch") or 0), float(settings.get("min_delta") or 0.0)
    found, best = None, 0.0
    for epoch, value in values:
        if epoch - 1 < start:
            continue
        if found is None or better(value, best, direction, delta):
            found, best = epoch, value
    return found


def better(value: float, than: float, direction: str, min_delta: float) -> bool:
    """`MonitorCallback._is_improvement`: Keras compares tensors, which are float32."""
    with np.errstate(over="ignore"):
        if direction == "min":
            return bool(np.float32(value + abs(min_delta)) < np.float32(than))
        return bool(np.float32(value - abs(min_delta)) > np.float32(than))


def _equal(value: float, best: Any) -> bool:
    return isinstance(best, (int, float)) and (value == best or (math.isnan(value) and math.isnan(best)))
