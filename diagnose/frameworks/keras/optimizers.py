"""Optimizers: which of their variables is what (`keras/src/optimizers/base_optimizer.py`)."""

from __future__ import annotations

from collections.abc import Iterator
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
