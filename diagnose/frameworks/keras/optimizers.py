"""Optimizers: which of their variables is what (`keras/src/optimizers/base_optimizer.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def parts(optimizer: Any) -> Iterator[Any]:
    """An optimizer and those it wraps (`LossScaleOptimizer`, `MultiOptimizer`)."""
    if optimizer is not None:
        yield optimizer
        for inner in (getattr(optimizer, "inner_optimizer", None), *(getattr(optimizer, "optimizers", None) or [])):
            yield from parts(inner)


def rate(optimizer: Any) -> Any:
    """Where an optimizer has its learning rate: a variable, a schedule or a function."""
    return optimizer._learning_rate


def counter(optimizer: Any) -> Any:
    """The variable that counts updates."""
    return optimizer._iterations


def averages(optimizer: Any) -> Iterator[tuple[Any, Any]]:
    """(variable, its moving average) with `use_ema`, once the optimizer is built."""
    # Set where the optimizer is built with `use_ema`, and nowhere else.
    kept = getattr(optimizer, "_model_variables_moving_average", None) or []
    for variable, average in zip(optimizer._trainable_variables, kept, strict=False):
        if average is not None:
            yield variable, average


def optimizers_of(model: Any) -> list[Any]:
    """The compiled optimizer, and those in the model's attributes that its own step may use."""
    import keras

    held = [model.optimizer, *vars(model).values()]
    return list({id(o): o for o in held if isinstance(o, keras.optimizers.Optimizer)}.values())


def with_apply(optimizer: Any, before: Callable[[], None]) -> Callable[[], None]:
    """Has `before` called in front of each `apply` of this optimizer, by which every update goes. Returns what takes it
    out again."""
    apply = optimizer.apply

    def looked_at(*arguments: Any, **named: Any) -> Any:
        before()
        return apply(*arguments, **named)

    # Not by setattr: Keras and TensorFlow keep track of what is set on an optimizer.
    object.__setattr__(optimizer, "apply", looked_at)

    def take_out() -> None:
        if vars(optimizer).get("apply") is looked_at:
            object.__delattr__(optimizer, "apply")

    return take_out
