"""Compiled metrics and losses taken apart (`keras/src/trainers/compile_utils.py`), and what single ones say of
themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diagnose.frameworks.keras.trainers import compiled_loss, compiled_metrics


def metric_groups(model: Any) -> Iterator[tuple[bool, int, Any]]:
    """Whether it is one of `weighted_metrics`, the number of the output, and the `MetricsList` for that output. None
    before the first step, which builds them."""
    compiled = compiled_metrics(model)
    if compiled is not None and compiled.built:
        for weighted, groups in ((False, compiled._flat_metrics), (True, compiled._flat_weighted_metrics)):
            for output, group in enumerate(groups):
                if group is not None:
                    yield weighted, output, group


def output_name(group: Any) -> str | None:
    """The name that the logs put before the metrics of a `MetricsList`: that of its output, where there are several."""
    name: str | None = group.output_name
    return name


def function_of(metric: Any) -> Any:
    """The function that a `MeanMetricWrapper` averages; None for any other metric."""
    return getattr(metric, "_fn", None)


def settings_of(of: Any) -> Mapping[str, Any]:
    """The arguments that a `MeanMetricWrapper` or `LossFunctionWrapper` gives to its function."""
    return getattr(of, "_fn_kwargs", None) or {}


def direction_of(metric: Any) -> str | None:
    """Which way a metric is better, "max" or "min", as Keras itself tells it; None where it does not."""
    return {"up": "max", "down": "min"}.get(str(getattr(metric, "_direction", None)))


def loss_entries(model: Any) -> list[tuple[Any, Any]]:
    """(loss, its weight) for each output. Empty before the first step, which builds them."""
    compiled = compiled_loss(model)
    return [] if compiled is None else [(x.loss, x.loss_weights) for x in compiled._flat_losses or ()]


def loss_trackers(model: Any) -> list[Any]:
    """The metrics that average the losses of single outputs, in the order of `loss_entries`; empty for one output."""
    compiled = compiled_loss(model)
    return [] if compiled is None else list(compiled.metrics)


def metrics_given(model: Any) -> list[Any]:
    """What `compile` was given as `metrics` and `weighted_metrics`."""
    compiled = compiled_metrics(model)
    return [] if compiled is None else [compiled._user_metrics, compiled._user_weighted_metrics]


def losses_given(model: Any) -> Any:
    """What `compile` was given as `loss`."""
    return getattr(compiled_loss(model), "_user_loss", None)
