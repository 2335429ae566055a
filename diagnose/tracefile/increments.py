"""What a step added to each metric variable, from recorded metric state, without Keras."""

from __future__ import annotations

import math
from dataclasses import replace
from weakref import WeakKeyDictionary

from diagnose.tracefile.metric_state import Slot, added, layout, means
from diagnose.tracefile.model import Step
from diagnose.tracefile.reader import Trace


def sums(trace: Trace, step: Step) -> dict[str, tuple[float, float]]:
    """metric -> (total, count) that the step added, for metrics that keep just these two."""
    return means(increments(trace, step))


def held(trace: Trace, step: Step) -> dict[str, float]:
    """metric -> mean over all that its state holds after this step: what the logs then hold."""
    if step.metrics_after is None:
        return {}
    whole = replace(step, metrics_before=bytes(len(step.metrics_after)))
    return {name: mean(*all_of_it) for name, all_of_it in sums(trace, whole).items()}


def mean(total: float, count: float) -> float:
    """NaN where nothing was counted."""
    return total / count if count else math.nan


def increments(trace: Trace, step: Step) -> dict[str, dict[str, float]]:
    """metric, by its name in the logs -> variable -> what the step added to it; scalar variables only.

    Before the first step of a fit metrics may have no state yet: they start from zero there.
    """
    if step.metrics_after is None or (step.metrics_before is None and step.step > 0):
        return {}
    if trace not in _LAYOUTS:
        _LAYOUTS[trace] = layout(trace.header.metric_variables)
    return added(_LAYOUTS[trace], step.metrics_before, step.metrics_after)


_LAYOUTS: WeakKeyDictionary[Trace, list[Slot]] = WeakKeyDictionary()
