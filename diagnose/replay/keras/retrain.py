"""Runs a Keras model's own train function on given values, so that an epoch can be trained once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.optimizers import optimizers_of
from diagnose.frameworks.keras.optimizers import rate as rate_of
from diagnose.frameworks.keras.seeds import global_seed, global_seed_set
from diagnose.replay.engine import Began
from diagnose.replay.keras.backends import ReplayBackend
from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.backends.common import initial_optimizer_state, optimizer_variables
from diagnose.replay.keras.kept import Kept
from diagnose.replay.keras.values import Values
from diagnose.replay.recorded import OptimizerStart
from diagnose.tracefile.model import Batch, NDArray

_OTHERS = "the model's optimizer has other variables than the one that the fit was run with"


class KerasRetrainer:
    """See `diagnose.replay.engine.Retrainer`. Use within `borrowed(model, …)`: it trains the model.

    Args:
        fresh: metric values right after a reset.
        kept: where its function is kept.
        fixed: see `BatchRun.fixed`.
    """

    def __init__(self, model: Any, values: Values, fresh: Callable[[], list[Any]], kept: Kept, *, fixed: bool) -> None:
        self._model = model
        self._kept = kept
        self._values = values
        self._fresh = fresh
        self._fixed = fixed
        self._runner: Runner | None = None
        self._seed: tuple[int, int] | None = None
        self._generator: NDArray | None = None
        self.began: Began = None, None

    @property
    def runner(self) -> Runner | None:
        """What runs the steps, once one did."""
        return self._runner

    def start(self, variables: Sequence[NDArray], optimizer: OptimizerStart) -> None:
        backend = self._values.backend
        runner = self._runner
        if runner is None or backend.draws_of_its_own([runner]):
            # Operations that draw by themselves count their calls: only a new function begins where a fit began.
            made = self._kept.made_for("again", self._model, training=True, anew=runner is not None)
            runner = self._runner = backend.runner(self._model, made, training=True, fixed=self._fixed)
        runner.set_weights(variables)
        runner.set_optimizer(optimizer_state(self._model, backend, optimizer))
        runner.set_metrics(self._fresh())
        self._seed = self._generator = None

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
        # What was not looked at before a step goes on from where the step before left it.
        seed = self._seed if batch.global_seed is None else batch.global_seed
        generator = self._generator if generator is None else generator
        self.began = generator, seed
        with values.backend.generator(generator), global_seed_set(seed):
            weight = values.weights(batch.sample_weight, batch.weight_tree)
            runner.step(values.tree(batch.x), values.tree(batch.y), weight, bare=batch.bare)
            self._seed = None if seed is None else global_seed()
            self._generator = None if generator is None else values.backend.generator_state()
        array = values.backend.array
        return [array(v) for v in runner.weights()], [array(v) for v in runner.metrics()]


def optimizer_state(model: Any, backend: ReplayBackend, start: OptimizerStart) -> list[NDArray]:
    """The optimizer's variables, with the learning rate among them.

    Raises:
        ReplayError: those recorded are of another optimizer.
    """
    variables = optimizer_variables(model)
    if start.variables is None:
        found = initial_optimizer_state(model, backend.contents)
    else:
        found = [np.array(array) for array in start.variables]
        if len(found) < len(variables):
            found += _never_used(model, backend, len(found))
    if len(found) != len(variables):
        raise ReplayError(_OTHERS)
    own = None if model.optimizer is None else rate_of(model.optimizer)
    for i, v in enumerate(variables):
        if v is own and start.rate is not None:
            found[i] = np.array(start.rate, found[i].dtype)
    return found


def _never_used(model: Any, backend: ReplayBackend, recorded: int) -> list[NDArray]:
    """What a fit that left its optimizer alone (the model's own step has others, which come first) did not make: a new
    one's."""
    optimizer = model.optimizer
    others = sum(len(each.variables) for each in optimizers_of(model)[:-1])
    if optimizer is None or recorded != others + len(type(optimizer).from_config(optimizer.get_config()).variables):
        raise ReplayError(_OTHERS)
    return initial_optimizer_state(model, backend.contents)[recorded:]
