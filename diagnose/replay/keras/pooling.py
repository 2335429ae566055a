"""Which metrics give the same value however the rows are split into batches. Looks at the metrics' classes only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from diagnose.frameworks.keras.layers import added_losses, makes_mask, model_and_layers
from diagnose.frameworks.keras.metrics import function_of, losses_given
from diagnose.frameworks.keras.origin import by_keras, step_by_keras
from diagnose.frameworks.keras.trainers import compiled_loss

_MEAN_OVER_ROWS = ("sum_over_batch_size", "mean")
"""Loss reductions whose mean over a batch, weighted by its rows as the loss tracker does, is a mean over all rows."""


def pooled(model: Any, name: str) -> bool | None:
    """Whether a metric, by its name in the logs, is by its class the same for any split of the same rows into batches:
    up to float rounding, any difference has another reason. None: the class does not tell."""
    if name == "loss":
        return _loss_is_pooled(model)
    found = [_is_pooled(metric) for own, metric in _named(model) if own == name or name.endswith(f"_{own}")]
    return found[0] if found and all(answer is found[0] for answer in found) else None


def _named(model: Any) -> Iterator[tuple[str, Any]]:
    for metric in model.metrics:
        yield from _flat(metric)


def _flat(metric: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(metric, "metrics", None)
    if isinstance(inner, (list, tuple)):
        for each in inner:
            yield from _flat(each)
    else:
        yield str(metric.name), metric


def _is_pooled(metric: Any) -> bool | None:
    """Keras's own metrics add up over rows (sums, counts, confusion matrices). A mean of what is handed to it, or of a
    user's function, may be one over batches."""
    if not by_keras(type(metric)):
        return None
    if isinstance(metric, keras.metrics.MeanMetricWrapper):
        return True if by_keras(function_of(metric)) else None
    if type(metric) in (keras.metrics.Mean, keras.metrics.Sum):
        return None
    return True


def _loss_is_pooled(model: Any) -> bool | None:
    """Not certain with masks (a batch's loss is a mean over what is not masked), with losses of the user's own, or with
    `add_loss`."""
    layers = model_and_layers(model)
    own = not all(step_by_keras(model, method) for method in ("compute_loss", "train_step", "test_step"))
    if compiled_loss(model) is None or own or any(makes_mask(x) or added_losses(x) for x in layers):
        return None
    losses = keras.tree.flatten(losses_given(model))
    return True if losses and all(_loss_over_rows(loss) for loss in losses if loss is not None) else None


def _loss_over_rows(loss: Any) -> bool:
    if isinstance(loss, str):
        return True
    if not isinstance(loss, keras.Loss):
        return by_keras(loss)
    function = getattr(loss, "fn", None)
    own = by_keras(type(loss)) and (function is None or by_keras(function))
    return own and loss.reduction in _MEAN_OVER_ROWS
