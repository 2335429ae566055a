"""Which epochs are analysed, and which are evaluated again. Reads the trace; measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal, TypeAlias

from diagnose.decide import better
from diagnose.decide.kept import logged
from diagnose.decide.watched import Watcher
from diagnose.errors import DiagnoseError
from diagnose.tracefile.reader import Trace

Wanted: TypeAlias = Sequence[int] | Literal["all"] | None
"""Epochs (1-based) the user asked for; None: those of interest."""

SHORT_STEPS = 200
SHORT_SECONDS = 10.0
"""Fits of so few steps that took so little time are replayed and evaluated again whole."""
MOST_SECONDS = 2.0
"""So are others for which that is expected to take no longer."""
PER_EPOCH, PER_STEP, STEP_SHARE = 0.015, {"tensorflow": 0.0005}, 0.7
"""What it takes: seconds an epoch, seconds a step by backend (`OTHER_STEP` where the steps are not one loop of a
graph), and a part of the time that the steps themselves took. Measured: a tiny MLP and a small CNN, 100 epochs of 10
steps."""
OTHER_STEP = 0.002

CANDIDATES = 5
"""Of a longer fit, so many epochs with the best logged values are evaluated again for each decision on one."""


def is_short(trace: Trace) -> bool:
    """Whether all of it can be replayed in little time."""
    if trace.unrecorded or not trace.steps:
        return trace.updates <= SHORT_STEPS
    # Not the sum: the first step compiles, and others waited for something else. Where nobody looked at single steps,
    # each has the mean of its epoch.
    steps = median(step.seconds for step in trace.steps) * len(trace.steps)
    per_step = PER_STEP.get(trace.header.backend, OTHER_STEP)
    whole = PER_EPOCH * len(trace.epochs) + per_step * len(trace.steps) + STEP_SHARE * steps
    return (trace.updates <= SHORT_STEPS and steps <= SHORT_SECONDS) or whole <= MOST_SECONDS


def analysed(trace: Trace, wanted: Wanted, decisions: Sequence[Watcher], restored: int | None) -> list[int]:
    """The epochs that get a ledger: the last, the best by each monitor, the restored; where a training value decides,
    also the one after each, in whose log the weights an epoch ends with are seen first. A validation value belongs to
    the epoch that it stands at.

    Raises:
        DiagnoseError: an epoch that was asked for is not in the trace.
    """
    epochs = [e.epoch for e in trace.epochs]
    if wanted == "all":
        return epochs
    if wanted is not None:
        missing = sorted(set(wanted) - set(epochs))
        if missing:
            there = f"its epochs are {epochs[0]} to {epochs[-1]}" if epochs else "no epoch was finished"
            raise DiagnoseError(f"This fit has no epoch {', '.join(map(str, missing))}: {there}.")
        return [e for e in epochs if e in set(wanted)]
    best = [(epoch, d.on_training_value) for d in decisions for epoch in ranked(trace, d)[:1]]
    if restored is not None:
        best.append((restored, any(d.on_training_value for d in decisions)))
    found = {e for start, later in best for e in ((start, start + 1) if later else (start,))}
    return [e for e in epochs if e in found | set(epochs[-1:])]


def reevaluated(trace: Trace, wanted: Wanted, decisions: Sequence[Watcher], chosen: Sequence[int]) -> list[int]:
    """The epochs whose last weights are evaluated again: all of a short fit; of a long one those analysed, and, where
    something is decided by a training value, the best logged ones with the one before each."""
    epochs = [e.epoch for e in trace.epochs]
    if wanted == "all" or is_short(trace):
        return epochs
    found = set(chosen) | set(_candidates(trace, decisions))
    return [e for e in epochs if e in found]


def ranked(trace: Trace, decision: Watcher) -> list[int]:
    """The epochs (1-based) in which the decision's value was logged, the best first, the first of equals before the
    others."""
    mode = decision.direction
    if mode is None and decision.op is not None:
        mode = "max" if decision.op in (">", ">=") else "min"
    values = logged(decision.monitor, trace.epochs)
    return [] if mode is None else [epoch for epoch, _ in better.ranked(values, mode)]


def _candidates(trace: Trace, decisions: Sequence[Watcher]) -> Iterator[int]:
    for decision in decisions:
        if decision.on_training_value:
            for epoch in ranked(trace, decision)[:CANDIDATES]:
                yield from (epoch - 1, epoch)
