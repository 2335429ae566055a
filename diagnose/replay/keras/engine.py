"""A Keras model as an engine: one batch through it, in any mode, on given values of its variables: metric state before
it, metric state after it. Knows nothing of epochs or schedules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.layers import layers_of, model_and_layers, takes_training
from diagnose.frameworks.keras.model_state import state_variables
from diagnose.frameworks.keras.origin import step_by_keras
from diagnose.frameworks.keras.seeds import global_seed, global_seed_set
from diagnose.replay.blocks import Passed, alike
from diagnose.replay.engine import Mode, NotFinite, Pass, Retrainer, one_by_one
from diagnose.replay.keras.backends import ReplayBackend, current_backend
from diagnose.replay.keras.block_loop import BlockLoop
from diagnose.replay.keras.borrow import borrowed
from diagnose.replay.keras.data import KERAS_BATCH_SIZE, keras_evaluate
from diagnose.replay.keras.finite import not_finite
from diagnose.replay.keras.forward import LayerModes, fresh_metric_values, make_step, metric_results, predict
from diagnose.replay.keras.kept import Kept
from diagnose.replay.keras.own_steps import OwnSteps
from diagnose.replay.keras.pooling import pooled
from diagnose.replay.keras.retrain import KerasRetrainer, optimizer_state
from diagnose.replay.keras.together import Together, kinds_in, own_steps
from diagnose.replay.keras.unrecorded import unrecorded
from diagnose.replay.keras.values import Values
from diagnose.replay.recorded import Recorded
from diagnose.replay.runs import BatchRun, EvaluationData
from diagnose.result.problems import users_code
from diagnose.tracefile import metric_state
from diagnose.tracefile.about import MetricVariable
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread

LOOP_FROM = 300
"""Recorded steps from which a loop of the backend over many batches pays for its graph: a quarter of a second on
TensorFlow, against a millisecond for each batch."""


class KerasEngine:
    """Runs batches through one model (see `diagnose.replay.engine.Engine`). Use within `borrowed(model, …)`.

    The switches are the kinds of layers (and of steps) that differ between training and inference.
    """

    def __init__(self, trace: Trace, model: Any, kept: Kept) -> None:
        kept.engine = self
        self._kept = kept
        self.trace = trace
        self.model = model
        self.backend: ReplayBackend = current_backend()
        self.variables = state_variables(model)
        self.metric_variables = list(model.metrics_variables)
        self.carried = tuple(range(len(model.variables), len(self.variables)))
        self.own_train, self.own_test = own_steps(trace)
        masked = bool(trace.header.model.masking) and not self.backend.masks_reach_metrics
        self.switches = kinds_in(trace, self.own_train or self.own_test or bool(self.carried) or masked)
        self.shapes: list[tuple[int, ...]] = [tuple(v.shape) for v in self.variables]
        self.dtypes = frozenset(str(getattr(layer, "compute_dtype", "float32")) for layer in model_and_layers(model))
        self.evaluate_draws = False
        self.batch_size = KERAS_BATCH_SIZE
        sizes = {shape[0] for each in getattr(model, "inputs", None) or () if (shape := tuple(each.shape))}
        self.fixed_size: int | None = next((size for size in sizes if size is not None), None)
        self.replicas = self.backend.spread(model)
        self.value, self.array = self.backend.tensor, self.backend.array
        self.values = Values(self.backend, self.carried)
        fixed = any(step.batch.layout.fixed for step in trace.steps[-1:])
        self.retrainer: Retrainer | None = KerasRetrainer(model, self.values, self.fresh, kept, fixed=fixed)
        self._own = OwnSteps(model, self.values, self._optimizer_state, kept)
        self._splits_loss = step_by_keras(model, "compute_loss")
        self._together = Together(model, self.switches, trace)
        self._check_replicas()
        self._fresh: list[Any] | None = None
        self._loops = len(trace.steps) >= LOOP_FROM

    def fresh(self) -> list[Any]:
        """Metric values right after a reset."""
        if self._fresh is None:
            held = [self.backend.tensor(self.backend.contents(v)) for v in self.metric_variables]
            with users_code("resetting the metrics"):
                self._fresh = fresh_metric_values(self.model, self.metric_variables, held)
        return list(self._fresh)

    def _optimizer_state(self, epoch: int) -> list[NDArray]:
        """The optimizer's variables at the start of an epoch, with the rate the epoch ran at."""
        return optimizer_state(self.model, self.backend, Recorded(self.trace, None).optimizer(epoch))

    def _check_replicas(self) -> None:
        spread = Spread.of(self.trace)
        if spread is not None and spread.count > 1:
            if self.own_train or self.own_test:
                raise ReplayError("the model's own train_step or test_step is not replayed on several replicas")
            if self.carried:
                raise ReplayError("stateful layers are not replayed on several replicas")
            for layer in layers_of(self.model):
                if getattr(layer, "synchronized", False) is True:
                    raise ReplayError(
                        f"the layer '{layer.name}' takes its statistics over all replicas (synchronized=True), and "
                        "replicas are replayed one by one"
                    )

    def forward(
        self,
        run: BatchRun,
        metrics: Sequence[Sequence[Any]],
        modes: Sequence[Mode],
        left: Sequence[Sequence[Any] | None] | None = None,
    ) -> list[Pass]:
        """One batch, in several modes side by side.

        Args:
            metrics: metric values, for each mode.
            left: what stateful layers start from, for each mode; None: what is in the run's own values.
        """
        if left is None:
            left = [None] * len(modes)
        generator, seed = None, None
        if run.step is not None:
            generator = None if run.step.generator is None else self.trace.array(run.step.generator)
            seed = run.batch.global_seed
        training = any(mode.training for mode in modes)
        with users_code("running the model's steps again" if training else "evaluating the model"):
            return self._forward(run, metrics, modes, left, lambda: self._generators(generator, seed))

    def forward_all(
        self,
        runs: Sequence[BatchRun],
        metrics: Sequence[Sequence[Any]],
        modes: Sequence[Mode],
        carry: Sequence[bool],
        left: Sequence[Sequence[Any] | None],
    ) -> Passed:
        """Neighbours of one form as one loop of the backend, where it has one; the others one by one."""
        block = self._block(tuple(modes))
        if block is None:
            return one_by_one(self, runs, metrics, modes, carry, left)
        done = Passed([list(each) for each in metrics], list(left))
        for form, part in alike(runs):
            if form is None:
                next_done = one_by_one(self, part, done.metrics, modes, carry, done.left)
            else:
                training = any(mode.training for mode in modes)
                with users_code("running the model's steps again" if training else "evaluating the model"):
                    next_done = block.passed(part, done.metrics, carry, done.left)
                if not self._splits_loss:
                    next_done.penalties = [[None] * len(modes) for _ in part]
            each, penalties = [*done.each, *next_done.each], [*done.penalties, *next_done.penalties]
            done = replace(next_done, each=each, penalties=penalties)
        return done

    def _block(self, modes: tuple[Mode, ...]) -> BlockLoop | None:
        """The loop over batches in these modes; None where the backend has none for this model."""
        if any(self.own_train if mode.training else self.own_test for mode in modes):
            return None
        if not self._loops or self.model.run_eagerly or getattr(self.model, "jit_compile", False):
            return None
        key, loops = self._together.key(modes), self._kept.loops
        if key not in loops:
            loops[key] = self.backend.loop(self._late_step(modes), len(modes), self.carried)
        loop = loops[key]
        return None if loop is None else BlockLoop(loop, self.values)

    @contextlib.contextmanager
    def _generators(self, generator: NDArray | None, seed: tuple[int, int] | None) -> Iterator[None]:
        """Random generators that belong to no model, in a recorded state; after, in the state they were in."""
        with self.backend.generator(generator):
            if seed is None:
                yield
                return
            with global_seed_set(seed):
                yield

    def _forward(
        self,
        run: BatchRun,
        metrics: Sequence[Sequence[Any]],
        modes: Sequence[Mode],
        left: Sequence[Sequence[Any] | None],
        generators: Callable[[], AbstractContextManager[None]],
    ) -> list[Pass]:
        if all(self.own_train if mode.training else self.own_test for mode in modes):
            found = []
            for each, mode, own in zip(metrics, modes, left, strict=True):
                with generators():
                    found.append(self._own.forward(run, each, self.layers(mode), left=own))
            return found
        return self._keras_forward(run, metrics, modes, left, generators)

    def _keras_forward(
        self,
        run: BatchRun,
        metrics: Sequence[Sequence[Any]],
        modes: Sequence[Mode],
        left: Sequence[Sequence[Any] | None],
        generators: Callable[[], AbstractContextManager[None]],
    ) -> list[Pass]:
        made, places = self._together.made(self._together.key(modes))
        if len(made) == len(modes):
            return self._passes(run, metrics, modes, left, generators)
        asked = dict(zip(reversed(places), reversed(range(len(modes))), strict=True))
        beside = [asked.get(place, 0) for place in range(len(made))]
        try:
            found = self._passes(run, [metrics[i] for i in beside], made, [left[i] for i in beside], generators)
        except Exception:
            if not self._together.apart():
                raise
            return self._passes(run, metrics, modes, left, generators)
        return [found[place] for place in places]

    def _passes(
        self,
        run: BatchRun,
        metrics: Sequence[Sequence[Any]],
        modes: Sequence[Mode],
        left: Sequence[Sequence[Any] | None],
        generators: Callable[[], AbstractContextManager[None]],
    ) -> list[Pass]:
        function = self._step_function(tuple(modes))
        found = [list(each) for each in metrics]
        penalties: list[Any] = [0.0] * len(modes)
        after, rows = [], 0
        # Metrics add up over replicas, so what one replica adds can be added to what the others did.
        for values, x, y, weight, size in run.parts():
            weights = self.values.weights(weight, run.batch.weight_tree)
            starts = [[values[place] for place in self.carried] if own is None else list(own) for own in left]
            with generators():
                done = function(
                    values, found, starts, self.values.tree(x), self.values.tree(y), weights, fixed=run.fixed
                )
            found, after = [list(d[0]) for d in done], [list(d[1]) for d in done]
            own = [d[2] for d in done]
            penalties = [(p * rows + q * size) / max(rows + size, 1) for p, q in zip(penalties, own, strict=True)]
            rows += size
        told = penalties if self._splits_loss else [None] * len(modes)
        return [Pass(*each) for each in zip(found, after, told, strict=True)]

    def results(self, metrics: Sequence[Any], logs: Mapping[str, Any] | None = None) -> dict[str, float]:
        """What the metrics report in this state, as float64 by log name; metrics that report no scalar are left out.

        Args:
            logs: what the model's own last step returned. As `fit` does, it is taken where it has other names than the
                metrics (`Trainer._get_metrics_result_or_logs`).
        """
        kept = self._kept
        if kept.results is None:
            kept.results = self.backend.compile_simple(kept.late(lambda engine: engine._metric_results))
        with users_code("asking the metrics for their results"):
            found = kept.results(list(metrics))
        if logs is not None and set(logs) != set(found):
            found = dict(_flat(logs))
        arrays = {name: np.asarray(self.backend.array(value)) for name, value in found.items()}
        return {name: float(a) for name, a in arrays.items() if a.ndim == 0}

    def results_of(self, states: Sequence[Sequence[NDArray]]) -> list[dict[str, float]]:
        """As one loop of the backend, where it has one."""
        kept = self._kept
        if kept.all_results is None and self._loops:
            kept.all_results = self.backend.each(kept.late(lambda engine: engine._metric_results))
        if kept.all_results is None or len(states) < 2:
            return [self.results([self.backend.tensor(array) for array in state]) for state in states]
        columns = [self.backend.tensor(np.stack(column)) for column in zip(*states, strict=True)]
        with users_code("asking the metrics for their results"):
            found = kept.all_results(columns)
        arrays = {name: np.asarray(self.backend.array(value)) for name, value in found.items()}
        named = {name: array.tolist() for name, array in arrays.items() if array.ndim == 1}
        return [{name: float(values[place]) for name, values in named.items()} for place in range(len(states))]

    def _metric_results(self, values: Sequence[Any]) -> dict[str, Any]:
        return metric_results(self.model, self.metric_variables, values)

    def pooled(self, metric: str) -> bool | None:
        """By the classes of metrics and losses."""
        return pooled(self.model, metric)

    def evaluate(
        self, arrays: Sequence[NDArray], data: EvaluationData, copies: Mapping[tuple[int, int], NDArray]
    ) -> dict[str, float]:
        """`Model.evaluate` itself."""
        before = global_seed()
        if self.model.test_function is None and self.backend.compiles and not self.model.run_eagerly:
            self.model.test_function = self._kept.made_for("evaluate", self.model, training=False).run
        found = keras_evaluate(self.model, arrays, data, copies)
        self.evaluate_draws = global_seed() != before
        return found

    def predictions(self, run: BatchRun) -> list[NDArray]:
        """One batch through the model as `predict` runs it."""
        found = []
        with users_code("asking the model for predictions"):
            for values, x, _, _, _ in run.parts():
                outputs = predict(self.model, self.variables, values, self.values.tree(x))
                found.append([np.asarray(self.backend.array(output)) for output, _ in outputs])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    @contextlib.contextmanager
    def compiled_as(self, parts: Mapping[str, Any]) -> Iterator[KerasEngine]:
        """The parts are those of `trainers.COMPILED` of `diagnose.frameworks.keras`."""
        with borrowed(self.model, parts):
            yield KerasEngine(self.trace, self.model, Kept())

    def masks(self, run: BatchRun) -> list[NDArray | None]:
        """As metrics of `evaluate` see them."""
        found = []
        with users_code("asking the model for predictions"):
            for values, x, _, _, _ in run.parts():
                outputs = predict(self.model, self.variables, values, self.values.tree(x))
                found.append([None if m is None else np.asarray(self.backend.array(m), bool) for _, m in outputs])
        return [None if any(m is None for m in parts) else np.concatenate(parts) for parts in zip(*found, strict=True)]

    def not_finite(self, run: BatchRun) -> NotFinite:
        """Layer by layer, outside any graph."""
        step = run.step
        generator = None if step is None or step.generator is None else self.trace.array(step.generator)
        with users_code("running the model layer by layer"), self._generators(generator, run.batch.global_seed):
            values, x, y, weight, rows = next(run.parts())
            weights = self.values.weights(weight, run.batch.weight_tree)
            trees = self.values.tree(x), self.values.tree(y)
            return not_finite(self.model, self.variables, values, *trees, weights, rows)

    def unrecorded(self) -> str | None:
        """What the model's own train step works with and no trace holds, as a reason why steps come out otherwise."""
        return unrecorded(self.trace, self.model, self.own_train, self.draws_of_its_own)

    def draws_of_its_own(self) -> list[str]:
        """TensorFlow's own random operations that train steps draw from: these keep their state to themselves."""
        kept: list[dict[Any, Any]] = [self._kept.steps, self._kept.loops]
        made: list[Any] = [
            function for each in kept for modes, function in each.items() if any(mode.training for mode in modes)
        ]
        if isinstance(self.retrainer, KerasRetrainer):
            made.append(self.retrainer.runner)
        return self.backend.draws_of_its_own([*made, *self._own.trained_by])

    def read_metrics(self, raw: bytes) -> list[NDArray] | None:
        """Recorded metric state as arrays; None if it belongs to other metrics."""
        described = [
            MetricVariable(metric="", name=v.name, dtype=str(v.dtype), shape=tuple(v.shape))
            for v in self.metric_variables
        ]
        return metric_state.arrays(metric_state.layout(described), raw)

    def layers(self, mode: Mode) -> LayerModes:
        """Which layers a mode puts into inference while the model trains."""
        if not mode.training:
            return LayerModes(False)
        layers = layers_of(self.model)
        recorded = self.trace.header.model.layers
        if len(layers) != len(recorded):
            raise ReplayError("the model's layers are not those of the trace")
        differing = [(x, seen.kind) for x, seen in zip(layers, recorded, strict=True) if seen.kind]
        if self.trace.header.model.own_training:
            differing.append((self.model, "other-training-mode"))
        differing = [(x, kind) for x, kind in differing if takes_training(x)]
        forced = [x for x, kind in differing if kind in mode.inference]
        return LayerModes(True, forced, [x for x, kind in differing if kind not in mode.inference], self._kept.seen)

    def _step_function(self, modes: tuple[Mode, ...]) -> Callable[..., Any]:
        key, steps = self._together.key(modes), self._kept.steps
        if key not in steps:
            jit, eagerly = bool(getattr(self.model, "jit_compile", False)), bool(self.model.run_eagerly)
            steps[key] = self.backend.compile(self._late_step(modes), eagerly=eagerly, jit=jit)
        return steps[key]

    def _late_step(self, modes: tuple[Mode, ...]) -> Callable[..., Any]:
        """The step in these modes, made when it is compiled; where nothing is compiled, now."""
        if not self.backend.compiles or self.model.run_eagerly:
            return self._step_of(modes)
        return self._kept.late(lambda engine: engine._step_of(modes))

    def _step_of(self, modes: tuple[Mode, ...]) -> Callable[..., Any]:
        return make_step(
            self.model,
            self.variables,
            self.metric_variables,
            self.carried,
            [self.layers(mode) for mode in modes],
            masks_reach_metrics=self.backend.masks_reach_metrics,
        )


def _flat(logs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Logs without levels, as `fit` flattens them: the result of all compiled metrics together is a dict."""
    for name, value in logs.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value
