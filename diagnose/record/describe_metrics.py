"""Describes the metrics of a model in JSON: their variables, names in the logs, and the functions they average. Reads
only."""

from __future__ import annotations

import inspect
from typing import Any

from diagnose.frameworks.keras.metrics import (
    function_of,
    loss_entries,
    loss_trackers,
    metric_groups,
    output_name,
    settings_of,
)
from diagnose.frameworks.keras.trainers import loss_tracker
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json


def metric_variables(model: Any) -> list[dict[str, Json]]:
    """One entry per metric variable, in the order of `model.metrics_variables`: metric name, variable name, dtype,
    shape; `log`: the name in the logs; `of_loss`: whether Keras keeps it for the loss or one output's loss, not for a
    metric of the user's; `function`: the loss or metric function it averages, None where it is not the mean of one;
    `same_as`: for a metric, the log name of the loss that is the same function with the same settings, else None."""
    owners: dict[int, dict[str, Json]] = {}
    losses = _loss_functions(model)
    outputs = _metric_outputs(model)

    def claim(metric: Any) -> None:
        for inner in getattr(metric, "metrics", None) or []:
            claim(inner)
        output = outputs.get(id(metric))
        log = f"{output}_{metric.name}" if output else metric.name
        loss = losses.get(id(metric))
        computed = _computed(metric) if loss is None else loss[1]
        same = [name for name, other in losses.values() if loss is None and computed and other == computed]
        own = [name for name in same if name == (f"{output}_loss" if output else "loss")]
        entry: dict[str, Json] = {
            "metric": metric.name,
            "log": log,
            "of_loss": loss is not None,
            "function": None if computed is None else computed[1],
            "same_as": own[0] if own else None,
        }
        for v in metric.variables:
            owners.setdefault(id(v), entry)

    for metric in model.metrics:
        claim(metric)
    unknown = {"metric": "?", "log": "?", "of_loss": False, "function": None, "same_as": None}
    return [
        {**owners.get(id(v), unknown), "name": v.name, "dtype": str(v.dtype), "shape": list(v.shape)}
        for v in model.metrics_variables
    ]


Computed = tuple[int, str, tuple[tuple[str, str], ...]]
"""A function by identity, with its name and all its settings."""


def _computed(of: Any) -> Computed | None:
    """The function that a `MeanMetricWrapper` or `LossFunctionWrapper` applies, its defaults among the settings; None
    for any other metric or loss."""
    function = getattr(of, "fn", None) or function_of(of)
    if not callable(function) or getattr(function, "__qualname__", None) is None:
        return None
    try:
        parameters = list(inspect.signature(function).parameters.values())[2:]  # after y_true, y_pred
    except (TypeError, ValueError) as error:
        let_through(error)
        return None
    settings = {p.name: p.default for p in parameters if p.default is not p.empty}
    settings |= {str(k): v for k, v in settings_of(of).items()}
    # Keras's classes say 0 where its functions say 0.0.
    texts = {k: repr(float(v) if type(v) is int else v) for k, v in settings.items()}
    return id(function), f"{function.__module__}.{function.__qualname__}", tuple(sorted(texts.items()))


def computed_by(model: Any) -> dict[str, str]:
    """For each name in the logs, what its values are computed by: a function with its settings, or a class with its
    configuration. A function that is not Keras's is told by identity, too: this is for comparison in one process.
    Empty before the first step, which builds them."""
    losses = [(_text(loss), weight) for loss, weight in loss_entries(model)]
    total = " + ".join(text if weight in (None, 1, 1.0) else f"{weight} * {text}" for text, weight in losses)
    found = {"loss": total} if losses else {}
    for weighted, _, group in metric_groups(model):
        prefix = output_name(group)
        for metric in group.metrics:
            name = f"{prefix}_{metric.name}" if prefix else metric.name
            found[name] = _text(metric) + (" of weighted rows" if weighted else "")
    return found


def _text(of: Any) -> str:
    computed = _computed(of)
    reduction = getattr(of, "reduction", None)
    if computed is not None:
        identity, name, settings = computed
        own = "" if name.startswith("keras.") else f"@{identity:x}"
        reduced = {} if reduction in (None, "sum_over_batch_size", "mean") else {"reduction": repr(reduction)}
        texts = {**dict(settings), **reduced}
        return f"{name.rsplit('.', 1)[-1]}({', '.join(f'{k}={v}' for k, v in texts.items())}){own}"
    try:
        config = {k: v for k, v in of.get_config().items() if k not in ("name", "dtype")}
    except Exception as error:
        let_through(error)
        config = {}
    return f"{type(of).__name__}({', '.join(f'{k}={v!r}' for k, v in config.items())})"


def _loss_functions(model: Any) -> dict[int, tuple[str, Computed | None]]:
    """Id of a loss tracker -> its name and the function it averages. The total's is known where it is the mean of one
    function, without a loss weight."""
    total = loss_tracker(model)
    flat = loss_entries(model)
    found = {} if total is None else {id(total): (total.name, _mean_of(*flat[0]) if len(flat) == 1 else None)}
    for tracker, (loss, _) in zip(loss_trackers(model), flat, strict=False):
        found[id(tracker)] = (tracker.name, _mean_of(loss))  # parts are logged without their loss weight
    return found


def _mean_of(loss: Any, weight: float | None = None) -> Computed | None:
    """The function of one output's loss, where the weighted loss is the function's mean."""
    if getattr(loss, "reduction", None) not in ("sum_over_batch_size", "mean") or weight not in (None, 1, 1.0):
        return None
    return _computed(loss)


def _metric_outputs(model: Any) -> dict[int, str]:
    """Id of a compiled metric -> the output whose name Keras puts before the metric's in the logs."""
    return {id(m): name for _, _, group in metric_groups(model) if (name := output_name(group)) for m in group.metrics}
