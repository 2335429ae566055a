"""Whether a model has the variables of a trace, and building one that has not yet, which runs its `call` on symbols."""

from __future__ import annotations

from typing import Any

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.model_state import state_variables, variables_exist
from diagnose.frameworks.keras.trainers import build_on, compiled_metrics
from diagnose.replay.runs import weights_as_given
from diagnose.result.problems import described
from diagnose.tracefile.reader import Trace


def build(model: Any, trace: Trace) -> None:
    """A model that was compiled but never used makes its metrics' variables with its first batch; fit does the same.
    One that has all that was recorded is left alone: its own steps may never build the rest, nor be able to."""
    metrics = compiled_metrics(model)
    if variables_exist(model) and (metrics is None or metrics.built):
        return
    metrics_there = len(trace.header.metric_variables) == len(model.metrics_variables)
    if metrics_there and same_variables(model, trace):
        return
    ref = next((step.batch for step in trace.steps if step.batch.missing is None), None)
    if ref is None:
        return
    batch = trace.batch(ref)
    try:
        weight = weights_as_given(batch.sample_weight, batch.weight_tree)
        build_on(model, (batch.x, batch.y, weight))
    except Exception as error:
        if not same_variables(model, trace):
            raise ReplayError(f"the model cannot be built on the trace's batches ({described(error)})") from error


def same_variables(model: Any, trace: Trace) -> bool:
    shapes = [v.shape for v in trace.header.variables if v.group != "replica"]
    return [tuple(v.shape) for v in state_variables(model)] == shapes
