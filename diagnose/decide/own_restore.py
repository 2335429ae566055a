"""Callbacks of the user's own that put earlier weights back: seen by what they did, and by what they read. Reads the
trace only."""

from __future__ import annotations

from typing import Literal

from diagnose.decide.decisions import Decision, metric_directions
from diagnose.decide.reevaluated import is_reevaluated
from diagnose.tracefile.about import Callback
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import Epoch, Event
from diagnose.tracefile.reader import Trace


def own_restore(trace: Trace) -> Decision | None:
    """The callback, not one of Keras's, that left the model with the weights of an earlier epoch's end; with the logged
    value it read at the ends of epochs, and (in `settings`) the epoch it put back and all values it read.

    None where there is none, or its code shows no value that was logged.
    """
    final = trace.final
    if final is None:
        return None
    for event in reversed(trace.events_of(WeightsChanged)):
        if trace.states[event.detail.after].weights != final.weights:
            continue
        described = _callback(trace, event)
        versions = trace.index.versions_of(final)
        epoch = next((e for e in trace.epochs if e.last_version in versions), None)
        if described is None or epoch is None:
            return None
        keys = [k for k in (described.reads or {}).get("on_epoch_end", ()) if _is_number(epoch, k)]
        if not keys:
            return None
        settings = {
            "restore_best_weights": True,
            "mode": _direction(trace, keys[0]),
            "put_back": epoch.epoch,
            "reads": keys,
        }
        again = is_reevaluated(trace, keys[0])
        return Decision(str(event.detail.callback), "own-restore", keys[0], settings, reevaluated=again)
    return None


def _callback(trace: Trace, event: Event[WeightsChanged]) -> Callback | None:
    """What is recorded of the callback that wrote the weights; None for Keras's own, and where the name is not its
    alone."""
    found = [cb for cb in trace.header.callbacks if cb.class_name == event.detail.callback]
    one = found[0] if len(found) == 1 else None
    return None if one is None or one.builtin or "EarlyStopping" in one.bases else one


def _is_number(epoch: Epoch, key: str) -> bool:
    return isinstance(epoch.logs.get(key), (int, float))


def _direction(trace: Trace, key: str) -> Literal["min", "max"] | None:
    """By the compiled metric; a loss is better where it is smaller."""
    name = key.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    return metric_directions(trace).get(name)
