"""Logged values that `diagnose.callbacks` computed at the end of an epoch, with the weights the epoch ended with."""

from __future__ import annotations

from diagnose.tracefile.about import Callback
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import Epoch, State
from diagnose.tracefile.reader import Trace

CLASSES = ("ReevaluatedMetrics", "OwnedEarlyStopping")


def prefixes(trace: Trace) -> tuple[str, ...]:
    """What the names of such values begin with in this fit; empty where it had no such callback."""
    found = (cb.settings.get("prefix") for cb in trace.header.callbacks if _is_ours(cb))
    return tuple(dict.fromkeys(prefix for prefix in found if isinstance(prefix, str) and prefix))


def is_reevaluated(trace: Trace, key: str) -> bool:
    """Whether a key of the logs is one of them."""
    return key.startswith(prefixes(trace)) and any(key in e.logs for e in trace.epochs)


def evaluated_state(trace: Trace, epoch: Epoch) -> State:
    """The state that the values of an epoch were computed with: the epoch's last, before callbacks that came later
    changed it."""
    place = next((i for i, cb in enumerate(trace.header.callbacks) if _is_ours(cb)), -1)
    later = {cb.class_name for cb in trace.header.callbacks[place + 1 :]}
    for event in trace.events_of(WeightsChanged):
        at_end = event.epoch == epoch.epoch and event.detail.hook == "on_epoch_end"
        if at_end and event.detail.callback in later:
            return trace.states[event.detail.before]
    return trace.states[epoch.state]


def metric_of(trace: Trace, key: str) -> str:
    """The metric's own name."""
    return next((key.removeprefix(prefix) for prefix in prefixes(trace) if key.startswith(prefix)), key)


def held_value(trace: Trace, key: str) -> dict[str, float]:
    """What the callback got for the weights that the model holds after fit; empty where it never evaluated them."""
    for epoch in trace.epochs if trace.final is not None else ():
        value = epoch.logs.get(key)
        same = evaluated_state(trace, epoch).weights == trace.final.weights if trace.final is not None else False
        if same and isinstance(value, (int, float)):
            return {key: float(value)}
    return {}


def _is_ours(cb: Callback) -> bool:
    return any(name in CLASSES for name in cb.family)
