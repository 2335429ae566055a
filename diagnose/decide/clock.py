"""When a logged value was computed, and with which weights: of which source it is, at which versions, and whether one
of them owns it. The only place that tells; equal numbers make no owner. Reads the trace only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from diagnose.decide.callbacks import Callback, callbacks
from diagnose.result.diagnosis import Clock, Source, Span
from diagnose.result.texts import Text
from diagnose.tracefile import sources
from diagnose.tracefile.events import MetricsReset, WeightsChanged
from diagnose.tracefile.increments import held as means_held
from diagnose.tracefile.model import Epoch, State, Step
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.steps import was_reset

UNKNOWN = Text("writer.unknown", "unknown")
CLOSE = 1e-5
"""Relative; what a log and the state it was computed from, in float32, differ by at most."""
SOMEBODY = Text("writer.somebody", "Keras or the script, before {hook}")

# ── from where ──


def source(trace: Trace, key: str) -> Source:
    """By what a value of the logs was computed."""
    return trace.source(key)


def prefixes(trace: Trace) -> tuple[str, ...]:
    """What the names of values evaluated at the end of the epoch begin with; empty where no callback did that."""
    return sources.prefixes(trace.header)


def metric_of(trace: Trace, key: str) -> str:
    """The metric a name in the logs stands for: without `val_`, or what a callback of ours put before it."""
    return sources.metric_of(key, trace.header)


def _is_ours(cb: Callback) -> bool:
    return any(name in sources.OURS for name in cb.family)


# ── when ──


def clock(trace: Trace, epoch: Epoch, key: str) -> Clock:
    """The clock of one logged value."""
    where = source(trace, key)
    if where == "train-steps" and is_last_batchs(trace, epoch, key):
        return _of_steps(trace, epoch, last=True)
    return of_source(trace, epoch, where)


def of_source(trace: Trace, epoch: Epoch, source: Source) -> Clock:
    """The clock of an epoch's values of one source."""
    if source == "train-steps":
        return _of_steps(trace, epoch)
    state = _evaluated_with(trace, epoch, source)
    if state is None:
        return Clock(source)
    versions = trace.index.versions_of(state)
    if not versions:
        return Clock(source, written_by=writer(trace, state))
    at = epoch.last_version if epoch.last_version in versions else versions[-1]
    return Clock(source, Span(at, at), owned=True)


def clocks(trace: Trace) -> dict[int, dict[str, Clock]]:
    """epoch (1-based) -> name in its logs -> clock, of all epochs."""
    sources = {name: source(trace, name) for name in dict.fromkeys(n for e in trace.epochs for n in e.logs)}
    found = {}
    for epoch in trace.epochs:
        known = {kind: of_source(trace, epoch, kind) for kind in {sources[name] for name in epoch.logs}}
        found[epoch.epoch] = {
            name: clock(trace, epoch, name) if is_last_batchs(trace, epoch, name) else known[sources[name]]
            for name in epoch.logs
        }
    return found


def is_last_batchs(trace: Trace, epoch: Epoch, key: str) -> bool:
    """Whether a training value is what the last step of a train step of the user's own returned, not what a metric
    holds: no metric of the model has its name, or that was not updated, or Keras's own mean of the loss is another."""
    header = trace.header
    own = header.compile.custom_train_step and header.fit.loop != "train_on_batch"
    if not own or epoch.epoch in trace.unrecorded or source(trace, key) != "train-steps":
        return False
    steps = trace.index.steps_of(epoch.epoch)
    if not steps or "metric_variables" not in trace.info:
        return False
    names = {v.log for v in header.metric_variables} | {v.metric for v in header.metric_variables}
    if key not in names | {m.name for m in header.metrics or ()}:
        return True
    state, logged = means_held(trace, steps[-1]).get(key), epoch.logs.get(key)
    if state is None or isinstance(logged, bool) or not isinstance(logged, (int, float)) or not math.isfinite(logged):
        return False
    if math.isnan(state):  # nothing was counted: its result is 0
        return logged != 0
    # What else keeps a total and a count may log something made of them, a root.
    of_loss = any(v.of_loss for v in header.metric_variables if key in (v.log, v.metric))
    return of_loss and not abs(state - logged) <= CLOSE * max(abs(logged), abs(state))


def computed_with(trace: Trace, epoch: Epoch, key: str) -> State | None:
    """The one state that a value of an evaluation was computed with; None for any other value."""
    return _evaluated_with(trace, epoch, source(trace, key))


def validated_with(trace: Trace, epoch: int) -> State | None:
    """The state that the last validation pass of a (1-based) epoch was computed with; None for none."""
    found = trace.index.validation_of(epoch)
    return None if found is None else trace.states[found.state]


def held_value(trace: Trace, key: str) -> float | None:
    """What an evaluation at the end of an epoch gave for the weights that the model holds after fit; None where there
    was none."""
    for epoch in trace.epochs if trace.final is not None else ():
        value, state = epoch.logs.get(key), computed_with(trace, epoch, key)
        same = state is not None and trace.final is not None and state.weights == trace.final.weights
        if same and isinstance(value, (int, float)):
            return float(value)
    return None


def steps_before_reset(trace: Trace, epoch: Epoch) -> int:
    """How many steps of an epoch its log does not cover: those before the last reset of the metrics in it. All, where
    something reset them after the last step."""
    if trace.header.fit.loop == "train_on_batch":
        return 0  # it resets them before every step by itself
    steps = trace.index.steps_of(epoch.epoch)
    if any(e.step == epoch.last_version for e in trace.index.events_of(MetricsReset, epoch.epoch)):
        return len(steps)
    return next((i for i in range(len(steps) - 1, 0, -1) if was_reset(steps[i - 1], steps[i])), 0)


def _of_steps(trace: Trace, epoch: Epoch, *, last: bool = False) -> Clock:
    """`last`: of the epoch's last step alone."""
    if epoch.epoch in trace.unrecorded:
        return _without_steps(trace, epoch)
    steps: Sequence[Step] = trace.index.steps_of(epoch.epoch)[-1 if last else steps_before_reset(trace, epoch) :]
    if not steps:
        return Clock("train-steps")
    span = Span(steps[0].computed_at, steps[-1].computed_at)
    states = [trace.index.computed_with(step) for step in steps]
    known = [state for state in states if state is not None]
    different = len({state.trainable for state in known}) if len(known) == len(states) else None
    counted = Clock("train-steps", span, batches=len(steps), different=1 if len(steps) == 1 else different)
    changed = next((state for state in known if _overwritten(trace, state)), None)
    if changed is not None:
        return replace(counted, written_by=writer(trace, changed))
    same = len(steps) == 1 or (len(known) == len(states) and len({state.weights for state in known}) == 1)
    return replace(counted, owned=same)


def _without_steps(trace: Trace, epoch: Epoch) -> Clock:
    """Where only the ends of epochs are recorded: of one step, what was there before it; of several, no owner."""
    span = Span(epoch.first_version, epoch.last_version - 1)
    state = trace.index.held_at(span.first)
    if span.first < span.last or state is None or trace.index.any_of("changes-left-out"):
        return Clock("train-steps", span, batches=span.last - span.first + 1)
    if _overwritten(trace, state):
        return Clock("train-steps", span, written_by=writer(trace, state), batches=1, different=1)
    return Clock("train-steps", span, owned=True, batches=1, different=1)


def _evaluated_with(trace: Trace, epoch: Epoch, source: Source) -> State | None:
    if source == "validation":
        return validated_with(trace, epoch.epoch)
    return _at_our_turn(trace, epoch) if source == "end-of-epoch" else None


def _at_our_turn(trace: Trace, epoch: Epoch) -> State:
    """The epoch's last state, before callbacks whose turn came after ours changed it."""
    listed = callbacks(trace)
    place = next((cb.place for cb in listed if _is_ours(cb)), -1)
    later = {cb.name for cb in listed[place + 1 :]}
    for event in trace.index.events_of(WeightsChanged, epoch.epoch):
        if event.detail.hook == "on_epoch_end" and event.detail.callback in later:
            return trace.states[event.detail.before]
    return trace.states[epoch.state]


def _overwritten(trace: Trace, state: State) -> bool:
    """Whether something wrote other weights than the update did. Seeds alone do not count: on TensorFlow they move on
    when a step finds the end of its data."""
    if state.label != "changed" or state.version is None:
        return False
    made = trace.index.made(state.version)
    return made is None or state.weights != made.weights


# ── whose weights ──


def writer(trace: Trace, state: State) -> str:
    """Who wrote these weights: the callback after which they were first seen."""
    event = trace.index.writer_of(state)
    if event is None:
        return UNKNOWN()
    return str(event.detail.callback or "") or SOMEBODY(hook=str(event.detail.hook))


def epoch_of(trace: Trace, version: int) -> int | None:
    """The epoch a version ends, or stands in."""
    for e in trace.epochs:
        if e.first_version < version <= e.last_version:
            return e.epoch
    return None
