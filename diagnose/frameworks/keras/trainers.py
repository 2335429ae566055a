"""The trainers: what `compile` made, the functions that `fit` and `evaluate` run, and where JAX keeps its state
(`keras/src/trainers/trainer.py`, `keras/src/backend/*/trainer.py`)."""

from __future__ import annotations

import contextlib
import inspect
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from diagnose.frameworks.keras.origin import by_keras, step_by_keras

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


def made_anew(model: Any, *, training: bool) -> tuple[Callable[..., Any], bool]:
    """The function that runs train (or test) steps, made once more; and whether it holds the model, as those do that a
    class of the user's makes.

    Keras's own makers work on `self` alone, which a stand-in can be. The step itself is a function that JAX has not
    seen: `jax.jit` knows a bound method again by what it is bound to, and would not trace it once more for other modes
    of the layers.
    """
    maker, name = ("make_train_function", "train_step") if training else ("make_test_function", "test_step")
    holds = not step_by_keras(model, maker) or maker in vars(model)
    function = "train_function" if training else "test_function"
    before = getattr(model, function)
    try:
        with _as_new_function(model, name):
            if holds:
                getattr(model, maker)(force=True)
            else:
                getattr(type(model), maker)(_StandIn(model), force=True)
        return getattr(model, function), holds
    finally:
        setattr(model, function, before)


class _StandIn:
    """A model, for Keras's own methods, which then hold this and not the model. (A `weakref.proxy` would bind them to
    the model itself.)"""

    def __init__(self, model: Any) -> None:
        object.__setattr__(self, "its_model", weakref.ref(model))

    def __getattr__(self, name: str) -> Any:
        model = object.__getattribute__(self, "its_model")()
        method = inspect.getattr_static(type(model), name, None)
        if isinstance(method, types.FunctionType) and by_keras(method) and name not in vars(model):
            return types.MethodType(method, self)
        return getattr(model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.its_model(), name, value)

    def train_step(self, *arguments: Any) -> Any:
        return self.its_model().train_step(*arguments)

    def test_step(self, *arguments: Any) -> Any:
        return self.its_model().test_step(*arguments)


@contextlib.contextmanager
def _as_new_function(model: Any, name: str) -> Iterator[None]:
    """Within: the model's step is a function of its own, which holds no model."""
    own, itself = vars(model).get(name), weakref.ref(model)

    def again(*arguments: Any) -> Any:
        return getattr(itself(), name)(*arguments)

    object.__setattr__(model, name, again)
    try:
        yield
    finally:
        object.__delattr__(model, name)
        if own is not None:
            object.__setattr__(model, name, own)


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
