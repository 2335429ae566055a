"""Values of single states that one rule asks about: what a fit started from, an average of weights, a saved file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from diagnose.errors import ReplayError
from diagnose.restore.decisions import Decision
from diagnose.restore.ema import Averages, saved_by, set_at_end
from diagnose.trace.model import State

if TYPE_CHECKING:
    from diagnose.replay.replayer import Replayer

Validate = Callable[[State, int], Mapping[str, float]]
"""The validation metrics of a state over the batches of an epoch's pass."""


def started(replayer: Replayer) -> dict[str, float]:
    """Metrics of the weights this fit started from, where it continues an earlier one; else empty."""
    trace = replayer.trace
    continues = bool((trace.info.get("start") or {}).get("previous")) or any(s.epoch > 1 for s in trace.steps[:1])
    try:
        return replayer.evaluate_state(replayer.states.before(trace.steps[0])) if continues else {}
    except ReplayError:
        return {}


def ema_values(replayer: Replayer, decisions: Sequence[Decision], validate: Validate) -> dict[str, dict[str, float]]:
    """Metrics of the average that Keras put into the model at the end ("average"), and of what a ModelCheckpoint saved
    ("saved"); empty where the optimizer keeps no average."""
    trace = replayer.trace
    if Averages.of(trace) is None:
        return {}
    states = {"average": set_at_end(trace)}
    for decision in decisions:
        found = saved_by(trace, decision) if decision.kind == "checkpoint" else None
        if found is not None:
            states["saved"] = found[1]
    last = trace.evaluations[-1].epoch if trace.evaluations else 0
    values: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        if state is not None:
            with contextlib.suppress(ReplayError):
                values[name] = {**replayer.evaluate_state(state), **validate(state, last)}
    return values
