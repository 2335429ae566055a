"""Which way a metric is better, and which of several values is the best: the one comparison, as Keras makes it. Reads
the header and logged values only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

import numpy as np

from diagnose.tracefile.about import Metric
from diagnose.tracefile.reader import Trace

Mode: TypeAlias = Literal["min", "max"]
Logged: TypeAlias = Sequence[tuple[int, float]]
"""(epoch, value) pairs, in the order of the epochs."""

HIGHER: Final = frozenset({
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "AUC", "Precision", "Recall", "SensitivityAtSpecificity",
    "SpecificityAtSensitivity", "PrecisionAtRecall", "RecallAtPrecision", "TruePositives", "TrueNegatives",
    "FBetaScore", "F1Score", "IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "CosineSimilarity",
    "R2Score", "PearsonCorrelation", "ConcordanceCorrelation",
})  # fmt: skip
LOWER: Final = frozenset({
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError",
    "RootMeanSquaredError", "LogCoshError", "BinaryCrossentropy", "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy", "KLDivergence", "Poisson", "Hinge", "SquaredHinge", "CategoricalHinge",
    "FalsePositives", "FalseNegatives",
})  # fmt: skip
"""Metric classes of Keras by what a better value is, from their definitions; Keras's own `_direction` agrees where it
has one (held by a test)."""

HIGHER_FUNCTIONS: Final = frozenset({
    "accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy",
    "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy",
})  # fmt: skip
LOWER_FUNCTIONS: Final = frozenset({
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error",
    "log_cosh", "huber", "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
    "kl_divergence", "poisson", "hinge", "squared_hinge", "categorical_hinge",
})  # fmt: skip
"""Functions of Keras that `MeanMetricWrapper` averages."""

_Key = TypeVar("_Key")


# ── which way ──


def defined(trace: Trace, metric: str) -> Mode | None:
    """Which way a metric (its name without `val_`) is better by Keras's own definition; None for any other metric, and
    for a loss that a train step of the user's own logs."""
    header = trace.header
    of_loss = {v.log for v in header.metric_variables if v.of_loss}
    if metric == "loss" or metric in of_loss:
        # What fit minimises; a step of the user's own may log anything under that name.
        return None if header.compile.custom_train_step else "min"
    found = {_of_metric(m) for m in header.metrics or () if m.name == metric}
    return found.pop() if len(found) == 1 else None


def _of_metric(metric: Metric) -> Mode | None:
    if not metric.builtin:
        return None
    if metric.class_name in HIGHER:
        return "max"
    if metric.class_name in LOWER:
        return "min"
    function = metric.function if metric.class_name == "MeanMetricWrapper" else None
    return "max" if function in HIGHER_FUNCTIONS else "min" if function in LOWER_FUNCTIONS else None


def believed(trace: Trace, metric: str) -> Mode | None:
    """The same where it need not be proven: by what a metric says of itself (`_direction`), else by definition; and
    what is named a loss is better where it is smaller."""
    says = {m.name: m.direction for m in trace.header.metrics or ()}.get(metric)
    if says in ("min", "max"):
        return "min" if says == "min" else "max"
    return "min" if metric == "loss" or metric.endswith("_loss") else defined(trace, metric)


def compared_for(settings: Mapping[str, Any]) -> Mode | None:
    """Which way a callback compared, as Keras decided it; None where it never did, or does not show it."""
    op = settings.get("monitor_op")
    return "min" if op == "less" else "max" if op == "greater" else None


def asked_for(settings: Mapping[str, Any]) -> Mode | None:
    """The same, or what it was told to."""
    mode = settings.get("mode")
    return compared_for(settings) or ("min" if mode == "min" else "max" if mode == "max" else None)


# ── which value ──


def better(value: float, than: float, mode: str, min_delta: float = 0.0) -> bool:
    """`MonitorCallback._is_improvement` (keras/src/callbacks/monitor_callback.py, 3.15.1): Keras compares tensors,
    which are float32, and nothing is better than NaN."""
    with np.errstate(over="ignore"):
        if mode == "min":
            return bool(np.float32(value + abs(min_delta)) < np.float32(than))
        return bool(np.float32(value - abs(min_delta)) > np.float32(than))


def ranked(values: Iterable[tuple[_Key, float]], mode: str) -> list[tuple[_Key, float]]:
    """The best first, the first of equals before the others; without NaN, which compares with nothing."""
    with np.errstate(over="ignore"):
        known = [(float(np.float32(v)), (key, v)) for key, v in values if not math.isnan(v)]
    return [pair for _, pair in sorted(known, key=lambda p: p[0] if mode == "min" else -p[0])]


def best(values: Iterable[tuple[_Key, float]], mode: str | None) -> tuple[_Key, float] | None:
    """The first of the best; None where there is no number, or which way is better is not known."""
    found = [] if mode is None else ranked(values, mode)
    return found[0] if found else None


def choose(values: Logged, mode: str | None, settings: Mapping[str, Any]) -> int | None:
    """The epoch that an EarlyStopping with these settings keeps: `EarlyStopping.on_epoch_end` of Keras 3.15.1
    (keras/src/callbacks/early_stopping.py). Epochs before `start_from_epoch` are passed over, the first value is the
    best until one is better by more than `min_delta`. `baseline` decides only when to stop."""
    if mode is None:
        return None
    start, delta = int(settings.get("start_from_epoch") or 0), float(settings.get("min_delta") or 0.0)
    found, held = None, 0.0
    for epoch, value in values:
        if epoch - 1 < start:
            continue
        if found is None or better(value, held, mode, delta):
            found, held = epoch, value
    return found
