"""Steps of models with a `train_step` or `test_step` of their own: the model's own step is run on given values, and
what it did to the weights is thrown away. Use within `borrowed(model, …)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.errors import ReplayError
from diagnose.replay.engine import Pass
from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.forward import LayerModes
from diagnose.replay.keras.kept import Kept
from diagnose.replay.keras.values import Values
from diagnose.replay.runs import BatchRun
from diagnose.tracefile.model import NDArray


class OwnSteps:
    """The model's own train and test functions, made once for every set of layers that is forced into inference."""

    def __init__(
        self, model: Any, values: Values, initial_optimizer: Callable[[int], list[NDArray]], kept: Kept
    ) -> None:
        self._model = model
        self._kept = kept
        self._values = values
        self._initial_optimizer = initial_optimizer
        self._runners: dict[tuple[bool, bool, frozenset[int]], Runner] = {}

    @property
    def trained_by(self) -> list[Runner]:
        """What was made to run train steps."""
        return [runner for (training, _, _), runner in self._runners.items() if training]

    def forward(
        self,
        run: BatchRun,
        metrics: Sequence[Any],
        layers: LayerModes,
        *,
        left: Sequence[Any] | None,
    ) -> Pass:
        """One batch through the model's own step.

        A train step sees the optimizer as it was at the start of the epoch, and then as the steps before left it: with
        the weights each step computed at, that is what it saw in the fit. Only a step that looks at the model after
        its update depends on it.
        """
        as_values = self._values
        if run.shares is not None:
            raise ReplayError("the model's own train_step or test_step is not replayed on several replicas")
        with layers.applied():
            key = (layers.training, run.fixed, frozenset(map(id, layers.forced)))
            if key not in self._runners:
                made = self._kept.made_for(key[2], self._model, training=layers.training)
                self._runners[key] = as_values.backend.runner(
                    self._model, made, training=layers.training, fixed=run.fixed
                )
            runner = self._runners[key]
            if layers.training and run.step is not None and run.step.batch_index == 0:
                runner.set_optimizer(self._initial_optimizer(run.step.epoch))
            runner.set_weights(as_values.with_left(run.values[0], left))
            runner.set_metrics(metrics)
            batch = run.batch
            logs = runner.step(
                as_values.tree(batch.x),
                as_values.tree(batch.y),
                as_values.weights(run.sample_weight, batch.weight_tree),
                bare=batch.bare,
            )
        values = runner.weights()
        return Pass(runner.metrics(), [values[place] for place in as_values.carried], None, logs)
