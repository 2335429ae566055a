"""Weights of an earlier version that a callback put back while training went on from them, and what of the optimizer
was left as it was. Reads the trace only."""

from __future__ import annotations

from dataclasses import dataclass

from diagnose.decide.clock import epoch_of
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class Return:
    """A callback put the weights of an earlier version back (`part`: or its trainable ones), and training went on.
    `end`: at the end of an epoch, or before the next began; `to_end`: the version ends an epoch; `step`: how many steps
    were done."""

    callback: str
    epoch: int
    to_epoch: int | None
    to_version: int
    part: str
    end: bool
    to_end: bool
    step: int


def left_behind(trace: Trace, found: Return) -> list[str]:
    """What the optimizer kept that is not of the moment the weights are of: its variables, where both moments are ends
    of epochs; else the count of updates at the end of that epoch, which an optimizer put back would not have."""
    listed = trace.header.optimizer_variables
    states = {e.epoch: trace.states[e.state].optimizer_arrays for e in trace.epochs}
    then, now = states.get(found.to_epoch or 0), states.get(found.epoch)
    if found.end and found.to_end:
        if then is None or now is None:
            return []
        pairs = zip(listed, then, now, strict=False)
        return [v.path for v, a, b in pairs if a != b and v.role in ("slot", "average")]
    place = next((i for i, v in enumerate(listed) if v.role == "iterations"), None)
    epoch = next(e for e in trace.epochs if e.epoch == found.epoch)
    start = trace.header.start
    if now is None or place is None or place >= len(now) or start is None or start.iterations is None:
        return []
    counted = int(trace.array(now[place]))
    return [listed[place].path] if counted == start.iterations + epoch.last_version else []


def returns(trace: Trace) -> list[Return]:
    """By content, in whichever hook, as long as the step after it is computed with these weights."""
    found = []
    ends = {e.last_version: e.epoch for e in trace.epochs}
    versions: dict[bytes, list[int]] = {}
    for state in trace.states:
        if state.label == "version" and state.version is not None:
            versions.setdefault(state.trainable, []).append(state.version)
    known = {e.epoch for e in trace.epochs}
    for event in trace.events_of(WeightsChanged):
        detail, after = event.detail, trace.states[event.detail.after]
        step, epoch = event.step, event.epoch
        if detail.callback is None or step is None or epoch is None or str(detail.hook).startswith("on_test"):
            continue
        held, same = trace.index.held_at(step), versions.get(after.trainable, [])
        earlier = [v for v in same if v < step]
        if not earlier or step in same or held is None or held.weights != after.weights or len(trace.steps) <= step:
            continue
        whole = [v for v in trace.index.versions_of(after) if v < step]
        version = max(whole or earlier, key=lambda v: (v in ends, v))
        at_end = step in ends
        epoch = ends[step] if at_end else epoch
        if epoch in known:
            part = "whole" if whole else "trainable"
            to = ends.get(version, epoch_of(trace, version))
            found.append(Return(detail.callback, epoch, to, version, part, at_end, version in ends, step))
    return found
