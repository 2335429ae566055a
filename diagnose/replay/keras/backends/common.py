"""What the replay backends have in common. Imports Keras, no backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.frameworks.keras.model_state import state_variables
from diagnose.frameworks.keras.optimizers import optimizers_of, updated_by, variables_of
from diagnose.replay.keras.kept import Made
from diagnose.tracefile.model import NDArray


class NoLoop:
    """A backend whose calls are cheap, or which would compile anew for every number of batches."""

    def loop(self, step: Callable[..., Any], modes: int, carried: Sequence[int]) -> None:
        return None

    def each(self, function: Callable[..., Any]) -> None:
        return None

    def evaluated(self, x: Any, y: Any, sample_weight: Any, batch_size: int) -> dict[str, Any]:
        return as_arrays(x, y, sample_weight, batch_size)


def as_arrays(x: Any, y: Any, sample_weight: Any, batch_size: int) -> dict[str, Any]:
    """See `ReplayBackend.evaluated`: as they are."""
    return {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size}


def assign(variables: Sequence[Any], arrays: Sequence[NDArray]) -> None:
    """Sets Keras variables."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def optimizer_variables(model: Any) -> list[Any]:
    """The variables of the model's optimizers; makes them where the compiled one was never used."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return variables_of(model)


class AssigningRunner:
    """What runners have in common where Keras's functions work on the model's own variables."""

    def __init__(self, model: Any, training: bool, made: Made) -> None:
        self._model = model
        if training:
            optimizer_variables(model)
        self._run = made.run

    def set_weights(self, values: Sequence[Any]) -> None:
        assign(state_variables(self._model), values)

    def set_optimizer(self, values: Sequence[Any]) -> None:
        assign(optimizer_variables(self._model), values)

    def set_metrics(self, values: Sequence[Any]) -> None:
        assign(self._model.metrics_variables, values)

    def weights(self) -> list[Any]:
        return [self._copy(v) for v in state_variables(self._model)]

    def metrics(self) -> list[Any]:
        return [self._copy(v) for v in self._model.metrics_variables]

    def _copy(self, variable: Any) -> Any:
        """The value of a variable, which the next step leaves alone."""
        raise NotImplementedError


def initial_optimizer_state(model: Any, contents: Callable[[Any], NDArray]) -> list[NDArray]:
    """The variables of new optimizers of the same configurations, built for the same variables."""
    found: list[NDArray] = []
    for optimizer in optimizers_of(model):
        fresh = type(optimizer).from_config(optimizer.get_config())
        if optimizer.built:
            fresh.build(updated_by(optimizer))  # a step of the model's own may update a part of the model only
        elif optimizer is model.optimizer:
            fresh.build(model.trainable_variables)
        found.extend(contents(v) for v in fresh.variables)
    return found


def batch_of(x: Any, y: Any, sample_weight: Any, *, bare: bool) -> Any:
    """A batch as fit's iterators give it; `bare`: x by itself."""
    if bare and y is None and sample_weight is None:
        return x
    if sample_weight is not None:
        return (x, y, sample_weight)
    return (x,) if y is None else (x, y)
