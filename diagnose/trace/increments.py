"""What a step added to each metric variable, from recorded metric state, without Keras."""

from __future__ import annotations

import math

import numpy as np

from diagnose.trace.model import Step
from diagnose.trace.reader import Trace


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
    described = trace.info.get("metric_variables")
    if described is None or step.metrics_after is None or (step.metrics_before is None and step.step > 0):
        return {}
    before_bytes = step.metrics_before or bytes(len(step.metrics_after))
    found: dict[str, dict[str, float]] = {}
    start = 0
    for v in described:
        try:
            dtype = np.dtype(v["dtype"])
        except TypeError:
            return {}
        end = start + int(math.prod(v["shape"])) * dtype.itemsize
        if not v["shape"] and end <= min(len(step.metrics_after), len(before_bytes)):
            after = np.frombuffer(step.metrics_after[start:end], dtype)[0]
            before = np.frombuffer(before_bytes[start:end], dtype)[0]
            found.setdefault(v.get("log", v["metric"]), {})[v["name"]] = float(after) - float(before)
        start = end
    return found
