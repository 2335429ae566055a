"""Runs a Keras model's own train function on given values, so that an epoch can be trained once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.optimizer_state import optimizer_state
from diagnose.replay.keras.values import Values
from diagnose.replay.recorded import OptimizerStart
from diagnose.tracefile.model import Batch, NDArray


class KerasRetrainer:
    """See `diagnose.replay.engine.Retrainer`. Use within `borrowed(model, …)`: it trains the model.

    Args:
        fresh: metric values right after a reset.
        fixed: see `BatchRun.fixed`.
    """

    def __init__(self, model: Any, values: Values, fresh: Callable[[], list[Any]], *, fixed: bool) -> None:
        self._model = model
        self._values = values
        self._fresh = fresh
        self._fixed = fixed
        self._runner: Runner | None = None

    def start(self, variables: Sequence[NDArray], optimizer: OptimizerStart) -> None:
        backend = self._values.backend
        runner = backend.runner(self._model, training=True, fixed=self._fixed)
        runner.set_weights(variables)
        runner.set_optimizer(optimizer_state(self._model, backend, optimizer))
        runner.set_metrics(self._fresh())
        self._runner = runner

    def change(self, variables: Sequence[NDArray]) -> None:
        assert self._runner is not None
        self._runner.set_weights(variables)

    def step(
        self, batch: Batch, generator: NDArray | None, metrics: Sequence[Any] | None
    ) -> tuple[list[NDArray], list[NDArray]]:
        runner, values = self._runner, self._values
        assert runner is not None
        if metrics is not None:
            runner.set_metrics(metrics)
        with values.backend.generator(generator):
            weight = values.weights(batch.sample_weight, batch.weight_tree)
            runner.step(values.tree(batch.x), values.tree(batch.y), weight)
        array = values.backend.array
        return [array(v) for v in runner.weights()], [array(v) for v in runner.metrics()]
