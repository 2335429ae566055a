"""The forward half of a train step as a pure function of values: predictions, loss, metric update. No gradients, no
update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from diagnose.frameworks.keras.layers import takes_training
from diagnose.frameworks.keras.trainers import compute_loss, drop_mask, loss_tracker, mask_of, unscaled

Step = Callable[[Sequence[Any], Sequence[Any], Sequence[Any], Any, Any, Any], list[tuple[list[Any], list[Any], Any]]]


def make_step(
    model: Any,
    variables: Sequence[Any],
    metric_variables: Sequence[Any],
    carried: Sequence[int],
    layers: Sequence[LayerModes],
    *,
    masks_reach_metrics: bool,
) -> Step:
    """A function (variable values, metric values, carried values, x, y, sample_weight) -> (new metric values, carried
    values after the pass, penalties).

    It does so for several modes side by side, so that a compiler computes once what they have in common: the values of
    the variables are the same for all, metric and carried values are lists, one for each mode, as is what it returns.

    Follows `TensorFlowTrainer.train_step`/`test_step` (the same in the other trainers) up to the gradients: call,
    `_compute_loss`, loss tracker weighted by the number of rows, `compute_metrics`. The penalties are the part of the
    loss that `Trainer.compute_loss` takes from `model.losses`.

    Args:
        carried: places of variables that hand what a pass left in them to the next one (states of stateful layers).
        layers: one for each mode.
        masks_reach_metrics: whether a train step's metrics see the mask of the predictions. On JAX they do not: the
            predictions come out of `value_and_grad` as other objects (Keras 3.15.1), while a test step keeps them.
    """

    def step(
        values: Sequence[Any], metric_values: Sequence[Any], left: Sequence[Any], x: Any, y: Any, sample_weight: Any
    ) -> list[tuple[list[Any], list[Any], Any]]:
        found = []
        for mode, metrics, own in zip(layers, metric_values, left, strict=True):
            held = list(values)
            for place, value in zip(carried, own, strict=True):
                held[place] = value
            found.append(one(mode, held, metrics, x, y, sample_weight))
        return found

    def one(
        mode: LayerModes, values: Sequence[Any], metric_values: Sequence[Any], x: Any, y: Any, sample_weight: Any
    ) -> tuple[list[Any], list[Any], Any]:
        mapping = [*zip(variables, values, strict=True), *zip(metric_variables, metric_values, strict=True)]
        training = mode.training
        with keras.StatelessScope(mapping, collect_losses=True) as scope, mode.applied():
            y_pred = model(x, training=training) if takes_training(model) else model(x)
            loss = compute_loss(model, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
            rows = keras.ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
            tracker = loss_tracker(model)
            if tracker is not None:
                tracker.update_state(unscaled(loss), sample_weight=rows)
            if training and not masks_reach_metrics:
                _drop_masks(y_pred)
            model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
            penalties = keras.ops.convert_to_tensor(
                sum((keras.ops.sum(keras.ops.cast(p, "float32")) for p in model.losses), 0.0), "float32"
            )
            metrics = [scope.get_current_value(v) for v in metric_variables]
            return metrics, [scope.get_current_value(variables[place]) for place in carried], penalties

    return step


def predict(model: Any, variables: Sequence[Any], values: Sequence[Any], x: Any) -> list[tuple[Any, Any]]:
    """The outputs for `x`, each with its mask (None: it has none), in inference mode with these values of the
    variables, which stay as they are."""
    with keras.StatelessScope(list(zip(variables, values, strict=True))):
        y_pred = model(x, training=False) if takes_training(model) else model(x)
        return [(leaf, mask_of(leaf)) for leaf in keras.tree.flatten(y_pred)]


def _drop_masks(y_pred: Any) -> None:
    for leaf in keras.tree.flatten(y_pred):
        drop_mask(leaf)


def fresh_metric_values(model: Any, metric_variables: Sequence[Any], held: Sequence[Any]) -> list[Any]:
    """Metric state right after a reset, without resetting the model's own, which is `held`."""
    with keras.StatelessScope(list(zip(metric_variables, held, strict=True))) as scope:
        for metric in model.metrics:
            metric.reset_state()
        return [scope.get_current_value(v) for v in metric_variables]


def metric_results(model: Any, metric_variables: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    """What the metrics report in this state: name -> backend scalar, the names as in `fit`'s logs."""
    with keras.StatelessScope(list(zip(metric_variables, values, strict=True))):
        found = model.get_metrics_result()
        # A metric may return one of its variables, whose value is to be read inside the scope. What is no one value
        # (a dict of them) has no ledger.
        return {
            name: value.value if isinstance(value, keras.Variable) else value
            for name, value in found.items()
            if not isinstance(value, (dict, list, tuple))
        }


@contextlib.contextmanager
def calls_wrapped(
    layers: Sequence[tuple[Any, Callable[[Any, Callable[..., Any]], Callable[..., Any]]]],
) -> Iterator[None]:
    """Within: `call` of each layer is what its function makes of the layer and its own `call`."""
    calls = [(layer, layer.__dict__.get("call")) for layer, _ in layers]
    for layer, wrap in layers:
        object.__setattr__(layer, "call", wrap(layer, layer.call))
    try:
        yield
    finally:
        for layer, own in calls:
            object.__delattr__(layer, "call")
            if own is not None:
                object.__setattr__(layer, "call", own)


@dataclass(frozen=True, slots=True)
class LayerModes:
    """The mode a model is called in, and which layers run in inference mode even so.

    `forced` get `training=False`. The `others`, of those that differ in training, get what they got in a plain training
    pass, which is noted in `seen`: a forced model or block that hands its `training` on must not switch them too.
    """

    training: bool
    forced: Sequence[Any] = ()
    others: Sequence[Any] = ()
    seen: dict[int, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within: `call` of these layers is wrapped."""
        wrapped = [(layer, self._forced) for layer in self.forced]
        wrapped += [(layer, self._as_in_training if self.forced else self._noted) for layer in self.others]
        with calls_wrapped(wrapped):
            yield

    def _forced(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def forced(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **{**kwargs, "training": False})

        return forced

    def _noted(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.seen[id(layer)] = kwargs.get("training")
            return call(*args, **kwargs)

        return noted

    def _as_in_training(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def as_in_training(*args: Any, **kwargs: Any) -> Any:
            if "training" in kwargs and id(layer) in self.seen:
                kwargs["training"] = self.seen[id(layer)]
            return call(*args, **kwargs)

        return as_in_training
