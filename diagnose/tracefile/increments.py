"""What a step added to each metric variable, from recorded metric state, without Keras."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from diagnose.tracefile.model import Step
from diagnose.tracefile.reader import Trace


def sums(trace: Trace, step: Step) -> dict[str, tuple[float, float]]:
    """metric -> (total, count) that the step added, for metrics that keep just these two."""
    found = increments(trace, step)
    return {name: (p["total"], p["count"]) for name, p in found.items() if set(p) == {"total", "count"}}


def mean(total: float, count: float) -> float:
    """NaN where nothing was counted."""
    return total / count if count else math.nan


def increments(trace: Trace, step: Step) -> dict[str, dict[str, float]]:
    """metric, by its name in the logs -> variable -> what the step added to it; scalar variables only.

    Before the first step of a fit metrics may have no state yet: they start from zero there.
    """
    if step.metrics_after is None or (step.metrics_before is None and step.step > 0):
        return {}
    before_bytes = step.metrics_before or bytes(len(step.metrics_after))
    length = min(len(step.metrics_after), len(before_bytes))
    found: dict[str, dict[str, float]] = {}
    for log, name, dtype, start in _scalars(trace):
        end = start + dtype.itemsize
        if end > length:
            break
        after = np.frombuffer(step.metrics_after[start:end], dtype)[0]
        before = np.frombuffer(before_bytes[start:end], dtype)[0]
        found.setdefault(log, {})[name] = float(after) - float(before)
    return found


_SCALARS: WeakKeyDictionary[Trace, list[tuple[str, str, np.dtype[Any], int]]] = WeakKeyDictionary()


def _scalars(trace: Trace) -> list[tuple[str, str, np.dtype[Any], int]]:
    """Of each scalar metric variable its metric by its name in the logs, its own name, its dtype, and where it starts
    in the recorded state; none where a dtype before it is not NumPy's."""
    if trace not in _SCALARS:
        scalars: list[tuple[str, str, np.dtype[Any], int]] = []
        start = 0
        for v in trace.header.metric_variables:
            try:
                dtype = np.dtype(v.dtype)
            except TypeError:
                scalars = []
                break
            if not v.shape:
                scalars.append((v.metric if v.log is None else v.log, v.name, dtype, start))
            start += math.prod(v.shape) * dtype.itemsize
        _SCALARS[trace] = scalars
    return _SCALARS[trace]
