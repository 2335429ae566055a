"""Whether replay gives a logged value again, with the weights it was computed with. Judges nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from diagnose.decide.clock import computed_with, metric_of, source
from diagnose.errors import ReplayError
from diagnose.tracefile.model import Epoch, State

if TYPE_CHECKING:
    from diagnose.replay.check import EpochCheck
    from diagnose.replay.replayer import Replayer


def confirm(
    replayer: Replayer,
    epoch: Epoch,
    key: str,
    checked: Callable[[int], EpochCheck | None],
    validated: Callable[[State, int], Mapping[str, float]],
) -> bool | None:
    """None where replay is not possible.

    Args:
        checked: an epoch's steps, computed again.
        validated: the validation metrics of a state, over the batches of an epoch's validation pass.
    """
    trace, logged = replayer.trace, float(epoch.logs[key])
    kind, state = source(trace, key), computed_with(trace, epoch, key)
    if kind == "validation":
        value = None if state is None else validated(state, epoch.epoch).get(key)
    elif kind == "end-of-epoch" and state is not None:
        try:
            value = replayer.evaluate_state(state).get(metric_of(trace, key))
        except ReplayError:
            return None
        # The callback's rows may be others than the evaluation data, so another value proves nothing.
        return True if value is not None and _close(replayer, value, logged) else None
    else:
        check = checked(epoch.epoch)
        value = None if check is None else check.value.get(key)
    return None if value is None else _close(replayer, value, logged)


def _close(replayer: Replayer, value: float, logged: float) -> bool:
    from diagnose.replay.check import relative_tolerance

    same = value == logged or (math.isnan(value) and math.isnan(logged))
    return same or abs(value - logged) <= relative_tolerance(replayer) * max(abs(logged), 1e-3)
