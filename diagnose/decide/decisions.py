"""What the callbacks of a run decide on: which logged value each of them watches. Reads the trace only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from diagnose.decide.reevaluated import is_reevaluated
from diagnose.tracefile.about import Callback
from diagnose.tracefile.events import CallbacksFinal, StopRequested
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class Decision:
    """`monitor` is a key of the logs; `kind` says what rests on it. `settings` are the callback's, as after fit where
    that was reached.

    For a threshold: `op` and `value` (None where the code does not show it), and the `hook` and `code` it stands in.
    """

    callback: str
    kind: Literal["early-stopping", "checkpoint", "threshold", "own-restore"]
    monitor: str
    settings: Mapping[str, Any]
    op: str | None = None
    value: float | None = None
    hook: str | None = None
    code: str | None = None
    reevaluated: bool = False
    """Whether the value was computed at the end of the epoch by a callback of `diagnose.callbacks`."""

    @property
    def on_training_value(self) -> bool:
        """Whether the value comes from train steps, not from a validation pass or an evaluation at the epoch's end."""
        return not self.monitor.startswith("val_") and not self.reevaluated

    @property
    def direction(self) -> Literal["min", "max"] | None:
        """Which way is better, as Keras decided it."""
        op = self.settings.get("monitor_op")
        if op in ("less", "greater"):
            return "min" if op == "less" else "max"
        mode = self.settings.get("mode")
        return mode if mode in ("min", "max") else None


def decisions(trace: Trace) -> tuple[Decision, ...]:
    """All decisions, in callback order."""
    found: list[Decision] = []
    for cb in _callbacks(trace):
        settings, name, family = cb.settings, cb.class_name, cb.family
        monitor = settings.get("monitor")
        if "EarlyStopping" in family and isinstance(monitor, str):
            found.append(Decision(name, "early-stopping", monitor, settings))
        elif "ModelCheckpoint" in family and isinstance(monitor, str) and settings.get("save_best_only"):
            found.append(Decision(name, "checkpoint", monitor, settings))
        for t in cb.thresholds:
            found.append(Decision(name, "threshold", t.key, settings, t.op, t.value, t.hook, t.code))
    return tuple(replace(d, reevaluated=is_reevaluated(trace, d.monitor)) for d in found)


def metric_directions(trace: Trace) -> dict[str, Literal["min", "max"]]:
    """Which way Keras says its compiled metrics are better, by name in the logs."""
    found = ((m.name, m.direction) for m in trace.header.metrics or ())
    return {name: direction for name, direction in found if direction in ("min", "max")}  # type: ignore[misc]


def _callbacks(trace: Trace) -> tuple[Callback, ...]:
    return next((e.detail.callbacks for e in trace.events_of(CallbacksFinal)), trace.header.callbacks)


def stopped_by(trace: Trace) -> str | None:
    """The callback seen to set `stop_training`, None if none did."""
    return next((e.detail.callback for e in trace.events_of(StopRequested) if e.detail.callback), None)
