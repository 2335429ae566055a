"""The replay check: computes recorded train steps again and compares what came out with what was recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    tolerance = relative_tolerance(replayer)
    engine = replayer.engine
    metrics = engine.fresh()
    fresh = [engine.array(m) for m in metrics]
    checks = []
    previous: Step | None = None
    logs = None
    loop = replayer.trace.header.fit.loop == "train_on_batch"
    pooled = [np.asarray(f, np.float64) for f in fresh]
    ready = replayer.logged_replay(epoch) if walked else None
    if ready is not None:
        for step, before, after in zip(steps, [fresh, *ready], ready, strict=False):
            checks.append(_compare(replayer, step, fresh, before, after, tolerance))
        return EpochCheck(epoch, tuple(checks), engine.results([engine.value(a) for a in ready[-1]]))
    for step in steps:
        if was_reset(previous, step):
            metrics = metric_values(engine, step.metrics_before or b"") or metrics
        before = [engine.array(m) for m in metrics]
        done = engine.forward(replayer.step_run(step), [metrics], [TRAINING])[0]
        metrics, logs = done.metrics, done.logs
        after = [engine.array(m) for m in metrics]
        checks.append(_compare(replayer, step, fresh, before, after, tolerance))
        previous = step
        if loop:
            pooled = [p + a - b for p, a, b in zip(pooled, after, before, strict=True)]
    if loop:
        metrics = [engine.value(p.astype(f.dtype)) for p, f in zip(pooled, fresh, strict=True)]
    partial = replayer.spread is not None and replayer.spread.partial is not None
    return EpochCheck(epoch, tuple(checks), {} if partial else engine.results(metrics, logs))


def _compare(
    replayer: Replayer,
    step: Step,
    fresh: Sequence[NDArray],
    before: Sequence[NDArray],
    after: Sequence[NDArray],
    tolerance: float,
) -> StepCheck:
    engine, value = replayer.engine, replayer.engine.value
    own = engine.results([value(_alone(a, b, f)) for a, b, f in zip(after, before, fresh, strict=True)])
    recorded_after = None if step.metrics_after is None else engine.read_metrics(step.metrics_after)
    recorded_before = list(fresh) if step.metrics_before is None else engine.read_metrics(step.metrics_before)
    if recorded_after is None or recorded_before is None:
        return StepCheck(step, {}, own, False)
    recorded = engine.results(
        [value(_alone(a, b, f)) for a, b, f in zip(recorded_after, recorded_before, fresh, strict=True)]
    )
    same = all(
        _same_increment(_alone(a, b), _alone(ra, rb), ra, tolerance)
        for a, b, ra, rb in zip(after, before, recorded_after, recorded_before, strict=True)
    )
    return StepCheck(step, recorded, own, same)


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
