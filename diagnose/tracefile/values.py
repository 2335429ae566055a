"""A step's own metric values from recorded metric state, without Keras: for metrics that keep a total and a count."""

from __future__ import annotations

from diagnose.tracefile.increments import mean, sums
from diagnose.tracefile.model import Step
from diagnose.tracefile.reader import Trace


def own_values(trace: Trace, step: Step) -> dict[str, float]:
    """metric -> mean over this batch alone, from the difference of total and count before and after the step.

    Metrics with other state are left out: their value is not a function of the difference that is known here. An
    empty batch gives NaN.
    """
    if step.metrics_before is None:
        return {}
    return {name: mean(*own) for name, own in sums(trace, step).items()}
