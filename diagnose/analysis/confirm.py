"""Whether replay gives logged values again, with the weights they were computed with. Judges nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from diagnose.decide.clock import computed_with, metric_of, source
from diagnose.errors import ReplayError
from diagnose.tracefile.model import Epoch, State
from diagnose.tracefile.reader import Trace

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
    from diagnose.replay.check import close

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
        return True if value is not None and close(replayer, value, logged) else None
    else:
        check = checked(epoch.epoch)
        value = None if check is None else check.value.get(key)
    return None if value is None else close(replayer, value, logged)


def only_the_loss(
    replayer: Replayer,
    epoch: Epoch,
    key: str,
    checked: Callable[[int], EpochCheck | None],
    validated: Callable[[State, int], Mapping[str, float]],
) -> bool:
    """Whether replay gives all other values that were logged with a loss, but not the loss: with the same weights and
    rows it gives another value now. The arguments are those of `confirm`."""
    from diagnose.replay.check import close

    trace = replayer.trace
    kind, state = source(trace, key), computed_with(trace, epoch, key)
    losses = _losses(trace)
    if kind not in ("train-steps", "validation") or metric_of(trace, key) not in losses:
        return False
    if kind == "validation":
        values: Mapping[str, float] = {} if state is None else validated(state, epoch.epoch)
    else:
        check = checked(epoch.epoch)
        values = {} if check is None else check.value
    beside = [n for n in values if source(trace, n) == kind and metric_of(trace, n) not in losses]
    logged = {n: epoch.logs.get(n) for n in (*beside, key)}
    if key not in values or not beside or not all(isinstance(v, (int, float)) for v in logged.values()):
        return False
    same = {n: close(replayer, values[n], float(v)) for n, v in logged.items() if v is not None}
    return not same[key] and all(same[n] for n in beside)


def other_loss(replayer: Replayer, check: EpochCheck) -> int:
    """How many steps gave all metrics as recorded, computed again, but not the loss."""
    from diagnose.replay.check import close

    losses, found = _losses(replayer.trace), 0
    for step in check.steps:
        beside = [n for n in step.recorded if n not in losses]
        if not step.reproduced and beside:
            found += all(n in step.replayed and close(replayer, step.replayed[n], step.recorded[n]) for n in beside)
    return found


def _losses(trace: Trace) -> set[str]:
    return {"loss"} | {v.log for v in trace.header.metric_variables if v.of_loss and v.log is not None}
