"""Values of single states that one rule or table asks about: what a fit started from, an average of weights, a saved
file, states of layers set to zero."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diagnose.analysis.chosen import is_short
from diagnose.decide.averages import Averages, set_at_end
from diagnose.decide.kept import MOST_EVALUATED, kept_by, saved_models, state_saved
from diagnose.decide.watched import Watcher
from diagnose.errors import ReplayError
from diagnose.result.diagnosis import SavedModel
from diagnose.result.measurements import Scored
from diagnose.tracefile.model import State

if TYPE_CHECKING:
    from diagnose.replay.replayer import Replayer
    from diagnose.replay.runs import EvaluationData

Validate = Callable[[State, int], Mapping[str, float]]
"""The validation metrics of a state over the batches of an epoch's pass."""


def started(replayer: Replayer) -> dict[str, float]:
    """Metrics of the weights this fit started from, where it continues an earlier one; else empty."""
    trace = replayer.trace
    continues = (trace.header.start is not None and trace.header.start.previous is not None) or any(
        s.epoch > 1 for s in trace.steps[:1]
    )
    try:
        return replayer.evaluate_state(replayer.states.before(trace.steps[0])) if continues and trace.steps else {}
    except ReplayError:
        return {}


def ema_values(replayer: Replayer, decisions: Sequence[Watcher], validate: Validate) -> dict[str, dict[str, float]]:
    """Metrics of the average that Keras put into the model at the end ("average"), and of what a ModelCheckpoint saved
    ("saved"); empty where the optimizer keeps no average."""
    trace = replayer.trace
    if Averages.of(trace) is None:
        return {}
    states = {"average": set_at_end(trace)}
    for decision in decisions:
        found = kept_by(trace, decision) if decision.kind == "checkpoint" else None
        if found is not None:
            states["saved"] = found.state
    last = trace.evaluations[-1].epoch if trace.evaluations else 0
    values: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        if state is not None:
            with contextlib.suppress(ReplayError):
                values[name] = {**replayer.evaluate_state(state), **validate(state, last)}
    return values


def from_zero_state(replayer: Replayer) -> dict[str, float]:
    """What `evaluate` would return, had the states of stateful layers been zero before."""
    try:
        return replayer.evaluate_from_zero(replayer.states.final())
    except ReplayError:
        return {}


def in_default_batches(replayer: Replayer, data: EvaluationData, evaluated: Mapping[str, float]) -> dict[str, float]:
    """What `evaluate` returns in batches of the size it takes when it is given none, of those metrics that then have
    another value than in batches of fit's size; empty where the sizes are the same."""
    engine, state = replayer.engine, replayer.states.final()
    size = engine.batch_size
    told = not engine.carried and all(engine.pooled(name) for name in evaluated)
    if told or size == data.batch_size or data.rows <= min(size, data.batch_size):
        return {}
    if data.composite or not replayer.evaluates_alike:
        return {}
    from diagnose.replay.check import relative_tolerance

    arrays, copies = replayer.states.arrays(state), replayer.states.copies(state)
    found = engine.evaluate(arrays, replace(data, batch_size=size), copies)
    near = relative_tolerance(replayer)
    return {name: v for name, v in found.items() if abs(v - evaluated.get(name, v)) > near * max(abs(v), 1e-3)}


def in_one_batch(replayer: Replayer, data: EvaluationData, evaluated: Iterable[str]) -> dict[str, float]:
    """What `evaluate` would return for all rows in one batch, where the class of an `evaluated` metric does not tell
    that its value is the same for any batches; else empty."""
    from diagnose.replay import evaluation

    if replayer.engine.carried or all(replayer.engine.pooled(name) for name in evaluated):
        return {}
    batch = evaluation.in_one_batch(data)
    try:
        return {} if batch is None else replayer.over(replayer.states.final(), [batch])
    except ReplayError:
        return {}


def scored(replayer: Replayer, epochs: Iterable[int]) -> dict[int, Scored]:
    """For a model with a train step of its own, which may score before or after its update."""
    found = {}
    for epoch in epochs if replayer.engine.own_train else ():
        with contextlib.suppress(ReplayError):
            found[epoch] = Scored(replayer.scored(epoch, "before"), replayer.scored(epoch, "after"))
    return found


def end_of_epoch(replayer: Replayer, epochs: Iterable[int]) -> dict[int, dict[str, float]]:
    """Over an epoch's own batches, in training mode, with its last weights; of epochs with a ledger, which were
    replayed to this point already."""
    from diagnose.replay.replayer import Setting

    last = Setting("epoch-end", frozenset(), True, "fit")
    return {epoch: replayer.value(last, epoch) for epoch in epochs}


def saved(replayer: Replayer, validate: Validate) -> tuple[SavedModel, ...]:
    """The files that callbacks wrote, the last ones with the values of the weights in them."""
    found, known = saved_models(replayer.trace), dict[int, Mapping[str, float]]()
    for entry in found[-MOST_EVALUATED:]:
        if entry.metric is not None and entry.event not in known:
            state = state_saved(replayer.trace, entry)
            with contextlib.suppress(ReplayError):
                if state is not None:
                    values = replayer.evaluate_state(state, coarse=not is_short(replayer.trace))
                    known[entry.event] = {**values, **validate(state, entry.epoch or 0)}
    return tuple(replace(s, value=known.get(s.event, {}).get(s.metric or "")) for s in found)
