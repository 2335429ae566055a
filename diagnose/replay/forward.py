"""The forward half of a train step as a pure function of values: predictions, loss, metric update. No gradients, no
update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras.src.losses import loss as loss_module

Step = Callable[[Sequence[Any], Sequence[Any], Any, Any, Any], list[Any]]


def make_step(
    model: Any, variables: Sequence[Any], metric_variables: Sequence[Any], *, training: bool, forced: Sequence[Any]
) -> Step:
    """A function (variable values, metric values, x, y, sample_weight) -> new metric values.

    Follows `TensorFlowTrainer.train_step`/`test_step` (the same in the other trainers) up to the gradients: call,
    `_compute_loss`, loss tracker weighted by the number of rows, `compute_metrics`.

    Args:
        training: the mode the model is called in.
        forced: layers that run in inference mode even so.
    """

    def step(values: Sequence[Any], metric_values: Sequence[Any], x: Any, y: Any, sample_weight: Any) -> list[Any]:
        mapping = [*zip(variables, values, strict=True), *zip(metric_variables, metric_values, strict=True)]
        with keras.StatelessScope(mapping, collect_losses=True) as scope, _in_inference(forced):
            y_pred = model(x, training=training) if model._call_has_training_arg else model(x)
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
            rows = keras.ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
            if model._loss_tracker is not None:
                model._loss_tracker.update_state(_unscaled(loss), sample_weight=rows)
            model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            return [scope.get_current_value(v) for v in metric_variables]

    return step


def _unscaled(loss: Any) -> Any:
    """Inside the scope of a `tf.distribute` strategy, Keras divides losses by the number of replicas; the train step
    takes that back for the tracker (`keras.src.losses.loss`, 3.8 to 3.15)."""
    unscale = getattr(loss_module, "unscale_loss_for_distribution", None)
    return loss if unscale is None else unscale(loss)


def fresh_metric_values(model: Any, metric_variables: Sequence[Any], held: Sequence[Any]) -> list[Any]:
    """Metric state right after a reset, without resetting the model's own, which is `held`."""
    with keras.StatelessScope(list(zip(metric_variables, held, strict=True))) as scope:
        for metric in model.metrics:
            metric.reset_state()
        return [scope.get_current_value(v) for v in metric_variables]


def metric_results(model: Any, metric_variables: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    """What the metrics report in this state: name -> backend scalar, the names as in `fit`'s logs."""
    with keras.StatelessScope(list(zip(metric_variables, values, strict=True))):
        return dict(model.get_metrics_result())


@contextlib.contextmanager
def _in_inference(layers: Sequence[Any]) -> Iterator[None]:
    """Within: `call` of these layers gets `training=False`, whatever the model passes down."""
    calls = [(layer, layer.__dict__.get("call")) for layer in layers]
    for layer, _ in calls:
        object.__setattr__(layer, "call", _without_training(layer.call))
    try:
        yield
    finally:
        for layer, own in calls:
            object.__delattr__(layer, "call")
            if own is not None:
                object.__setattr__(layer, "call", own)


def _without_training(call: Callable[..., Any]) -> Callable[..., Any]:
    def forced(*args: Any, **kwargs: Any) -> Any:
        kwargs["training"] = False
        return call(*args, **kwargs)

    return forced
