"""What the replay backends have in common. Imports Keras, no backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.trace.model import NDArray


def assign(variables: Sequence[Any], arrays: Sequence[NDArray]) -> None:
    """Sets Keras variables."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def optimizer_variables(model: Any) -> list[Any]:
    """The optimizer's variables; makes them where the optimizer was never used."""
    if model.optimizer is None:
        return []
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return list(model.optimizer.variables)


def initial_optimizer_state(model: Any, contents: Callable[[Any], NDArray]) -> list[NDArray]:
    """The variables of a new optimizer of the same configuration, built for the same model."""
    if model.optimizer is None:
        return []
    fresh = type(model.optimizer).from_config(model.optimizer.get_config())
    fresh.build(model.trainable_variables)
    return [contents(v) for v in fresh.variables]


def batch_of(x: Any, y: Any, sample_weight: Any) -> tuple[Any, ...]:
    """A batch as fit's iterators give it."""
    if sample_weight is not None:
        return (x, y, sample_weight)
    return (x,) if y is None else (x, y)
