"""A step's own metric values from recorded metric state, without Keras: for metrics that keep a total and a count."""

from __future__ import annotations

import math

import numpy as np

from diagnose.trace.model import Step
from diagnose.trace.reader import Trace


def own_values(trace: Trace, step: Step) -> dict[str, float]:
    """metric -> mean over this batch alone, from the difference of total and count before and after the step.

    Metrics with other state are left out: their value is not a function of the difference that is known here. An
    empty batch gives NaN.
    """
    described = trace.info.get("metric_variables")
    if described is None or step.metrics_after is None or step.metrics_before is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    start = 0
    for v in described:
        try:
            dtype = np.dtype(v["dtype"])
        except TypeError:
            return {}
        end = start + int(math.prod(v["shape"])) * dtype.itemsize
        if not v["shape"] and end <= min(len(step.metrics_after), len(step.metrics_before)):
            after = np.frombuffer(step.metrics_after[start:end], dtype)[0]
            before = np.frombuffer(step.metrics_before[start:end], dtype)[0]
            found.setdefault(v["metric"], {})[v["name"]] = float(after) - float(before)
        start = end
    return {
        name: parts["total"] / parts["count"] if parts["count"] else math.nan
        for name, parts in found.items()
        if set(parts) == {"total", "count"}
    }
