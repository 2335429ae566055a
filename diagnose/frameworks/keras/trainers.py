"""The trainers: what `compile` made, the functions that `fit` and `evaluate` run, and where JAX keeps its state
(`keras/src/trainers/trainer.py`, `keras/src/backend/*/trainer.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MODEL_MODULE: Final = "keras.src.models.model"
"""The module that defines `keras.Model`, which inherits `fit` from the backend's trainer."""

COMPILED: Final = ("_compile_loss", "_compile_metrics", "_loss_tracker", "optimizer")
"""What `compile` made and analysis replays with, so that a later `compile` of the same model does no harm."""

SCORED_BY: Final = COMPILED[:3]
"""What of it `evaluate` uses."""

FUNCTIONS: Final = ("train_function", "test_function", "predict_function")
"""What `make_train_function` and its like set; `fit` calls it by attribute, step by step."""

MOVED_BY_A_CALL: Final = (
    *FUNCTIONS, "stop_training", "stop_evaluating", "_eval_epoch_iterator", "_jax_state", "_jax_state_synced",
    "history",
)  # fmt: skip
"""What `fit`, `evaluate` and the making of functions leave in a model, besides its variables."""


def compiled_metrics(model: Any) -> Any:
    """The `CompileMetrics` of a model that was compiled with metrics, else None."""
    return model._compile_metrics


def compiled_loss(model: Any) -> Any:
    """The `CompileLoss` of a model that was compiled with a loss, else None."""
    return model._compile_loss


def loss_tracker(model: Any) -> Any:
    """The metric that averages the total loss; None before `compile`."""
    return model._loss_tracker


def compute_loss(model: Any, **parts: Any) -> Any:
    """The loss as the train step asks for it: `compute_loss` may lack the argument `training`."""
    return model._compute_loss(**parts)


def values_in_order(model: Any, logs: dict[str, Any]) -> Any:
    """What `evaluate` and `test_on_batch` return without `return_dict`, of what they return with it."""
    return model._flatten_metrics_in_order(logs)


def is_validation_of_fit(arguments: Mapping[str, Any]) -> bool:
    """Whether a call of `evaluate` with these arguments is one that `fit` makes for its validation data."""
    return bool(arguments.get("kwargs", {}).get("_use_cached_eval_dataset"))


def unscaled(loss: Any) -> Any:
    """Inside the scope of a `tf.distribute` strategy, Keras divides losses by the number of replicas; the train step
    takes that back for the tracker (`keras/src/losses/loss.py`)."""
    from keras.src.losses.loss import unscale_loss_for_distribution

    return unscale_loss_for_distribution(loss)


def mask_of(tensor: Any) -> Any:
    """The mask that a layer put on its output; None where there is none."""
    from keras.src.backend import get_keras_mask

    return get_keras_mask(tensor)


def drop_mask(tensor: Any) -> None:
    """Takes off the mask that a layer put on its output."""
    from keras.src.backend import set_keras_mask

    set_keras_mask(tensor, None)


def build_on(model: Any, batch: tuple[Any, Any, Any]) -> None:
    """Makes the variables of the model, its metrics and its optimizer with a pass on symbols, as `fit` does before its
    first step."""
    model._symbolic_build(data_batch=batch)


def keeps_jax_state(model: Any) -> bool:
    """Whether this is JAX's trainer, whose steps carry the variables along."""
    return hasattr(model, "_jax_state_synced")


def jax_state(model: Any) -> tuple[Any, Any, Any, Any]:
    """The newest values of the (trainable, non-trainable, optimizer, metrics) variables where they are out in the
    state of a running fit or evaluation; None in place of each group that the variables themselves hold."""
    held = getattr(model, "_jax_state", None)  # there from the first step on
    if not held or model._jax_state_synced:
        return None, None, None, None
    names = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
    trainable, non_trainable, optimizer, metrics = (held.get(name) for name in names)
    return trainable, non_trainable, optimizer, metrics
