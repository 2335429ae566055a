"""The replay check: computes recorded train steps again and compares what came out with what was recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.replay.blocks import blocks
from diagnose.replay.engine import TRAINING, metric_values
from diagnose.replay.replayer import Replayer
from diagnose.tracefile.model import NDArray, Step
from diagnose.tracefile.steps import was_reset

RELATIVE = {"float32": 1e-5, "float64": 1e-9, "float16": 1e-2, "bfloat16": 3e-2}
"""Largest relative error of one step's metric increment, by the dtype the model computes in."""


@dataclass(frozen=True, slots=True)
class StepCheck:
    """One replayed step: its batch's own metric values as recorded and as replayed, and whether they agree."""

    step: Step
    recorded: dict[str, float]
    replayed: dict[str, float]
    reproduced: bool


@dataclass(frozen=True, slots=True)
class EpochCheck:
    """One replayed epoch: V(before, training, weighted, fit's batches), which must be the logged value."""

    epoch: int
    steps: tuple[StepCheck, ...]
    value: dict[str, float]


def relative_tolerance(replayer: Replayer) -> float:
    """By the coarsest dtype that the engine computes in."""
    return max((RELATIVE[d] for d in replayer.engine.dtypes if d in RELATIVE), default=RELATIVE["float32"])


def close(replayer: Replayer, value: float, wanted: float) -> bool:
    """Whether replay gave a value again, up to the tolerance: NaN is NaN."""
    same = value == wanted or (math.isnan(value) and math.isnan(wanted))
    return same or abs(value - wanted) <= relative_tolerance(replayer) * max(abs(wanted), 1e-3)


def check_epoch(replayer: Replayer, epoch: int, *, walked: bool = False) -> EpochCheck:
    """Replays all steps of one (1-based) epoch in order, metric state carried from step to step.

    Where the run itself changed metric state between two steps (an `evaluate` inside the epoch), the recorded state
    is taken up, as fit did. A loop of `train_on_batch` resets it before every step; the value of its epoch is that of
    all steps together.

    Args:
        walked: a ledger of this epoch is wanted too; its own first replay is then what is checked.

    Raises:
        ReplayError: a step's weights or rows are not in the trace.
    """
    steps = replayer.steps(epoch)
    engine = replayer.engine
    fresh = [engine.array(m) for m in engine.fresh()]
    ready = replayer.logged_replay(epoch) if walked else None
    if ready is not None:
        checks = _compared(replayer, steps, fresh, [fresh, *ready[:-1]], ready)
        return EpochCheck(epoch, checks, engine.results([engine.value(a) for a in ready[-1]]))
    made = None if walked else _made_again(replayer, epoch, steps)
    if made is not None:
        began = [_before(replayer, *each) for each in zip(steps, [fresh, *made[:-1]], strict=True)]
        checks = _compared(replayer, steps, fresh, began, made)
        return EpochCheck(epoch, checks, engine.results([engine.value(a) for a in made[-1]]))
    logs: Mapping[str, Any] | None = None
    metrics: list[Any] = engine.fresh()
    befores: list[list[NDArray]] = []
    afters: list[list[NDArray]] = []
    for part in _unbroken(steps):
        if afters:
            metrics = metric_values(engine, part[0].metrics_before or b"") or metrics
        first = [engine.array(m) for m in metrics]
        for block in blocks(replayer.step_run(step) for step in part):
            done = engine.forward_all(block, [metrics], [TRAINING], [False], [None])
            metrics, logs = done.metrics[0], (done.logs or [None])[0]
            befores += [first, *done.each[:-1]]
            afters += done.each
            first = done.each[-1]
    if replayer.is_loop:
        pooled = [np.asarray(f, np.float64) for f in fresh]
        for before, after in zip(befores, afters, strict=True):
            pooled = [p + a - b for p, a, b in zip(pooled, after, before, strict=True)]
        metrics = [engine.value(p.astype(f.dtype)) for p, f in zip(pooled, fresh, strict=True)]
    checks = _compared(replayer, steps, fresh, befores, afters)
    partial = replayer.spread is not None and replayer.spread.partial is not None
    return EpochCheck(epoch, checks, {} if partial else engine.results(metrics, logs))


def _made_again(replayer: Replayer, epoch: int, steps: Sequence[Step]) -> list[list[NDArray]] | None:
    """What the train step itself left in the metrics when an epoch was made again, which says more than its forward
    half would: it led to the recorded weights. None where it was not, where one state does not lead to the next, or the
    step is the user's own, which may log what no metric holds."""
    if not steps or replayer.is_loop or replayer.spread is not None or replayer.engine.own_train:
        return None
    return replayer.remaker.metrics(epoch) if len(list(_unbroken(steps))) == 1 else None


def _before(replayer: Replayer, step: Step, left: list[NDArray]) -> list[NDArray]:
    """The metric state that a step made again began with."""
    recorded = None if step.metrics_before is None else replayer.engine.read_metrics(step.metrics_before)
    return left if recorded is None else recorded


def _unbroken(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps in parts, each of which begins with metric state that the one before did not leave."""
    part: list[Step] = []
    for step in steps:
        if part and was_reset(part[-1], step):
            yield part
            part = []
        part.append(step)
    if part:
        yield part


def _compared(
    replayer: Replayer,
    steps: Sequence[Step],
    fresh: Sequence[NDArray],
    befores: Sequence[Sequence[NDArray]],
    afters: Sequence[Sequence[NDArray]],
) -> tuple[StepCheck, ...]:
    """Of each step, what it added to metric state, as recorded and as replayed."""
    engine, tolerance = replayer.engine, relative_tolerance(replayer)
    own = [_added(after, before, fresh) for after, before in zip(afters, befores, strict=True)]
    recorded: list[list[NDArray] | None] = []
    same = []
    for step, before, after in zip(steps, befores, afters, strict=True):
        recorded_after = None if step.metrics_after is None else engine.read_metrics(step.metrics_after)
        recorded_before = list(fresh) if step.metrics_before is None else engine.read_metrics(step.metrics_before)
        if recorded_after is None or recorded_before is None:
            recorded.append(None)
            same.append(False)
            continue
        recorded.append(_added(recorded_after, recorded_before, fresh))
        same.append(
            all(
                _same_increment(_alone(a, b), _alone(ra, rb), ra, tolerance)
                for a, b, ra, rb in zip(after, before, recorded_after, recorded_before, strict=True)
            )
        )
    values = engine.results_of([*own, *(r for r in recorded if r is not None)])
    told = iter(values[len(own) :])
    return tuple(
        StepCheck(step, {} if r is None else next(told), replayed, agrees)
        for step, r, replayed, agrees in zip(steps, recorded, values, same, strict=False)
    )


def _added(after: Sequence[NDArray], before: Sequence[NDArray], fresh: Sequence[NDArray]) -> list[NDArray]:
    return [_alone(a, b, f) for a, b, f in zip(after, before, fresh, strict=True)]


def _alone(after: NDArray, before: NDArray, fresh: NDArray | float = 0.0) -> NDArray:
    """What one step added to metric state, from a reset; what it became where the state before was not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        added = np.where(np.isfinite(before), after - before + fresh, after)
    return np.asarray(added, after.dtype)


def _same_increment(replayed: NDArray, recorded: NDArray, total: NDArray, tolerance: float) -> bool:
    """Equal up to the tolerance of one step, plus what float rounding of the running total can hide."""
    a, b = np.asarray(replayed, np.float64), np.asarray(recorded, np.float64)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(np.asarray(total, np.float64))
    with np.errstate(invalid="ignore"):
        close = np.abs(a - b) <= tolerance * np.abs(b) + rounding + 1e-7 * tolerance
    return bool(np.all(close | (a == b) | (np.isnan(a) & np.isnan(b))))
