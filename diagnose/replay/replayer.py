"""V(schedule, mode, weighting, data): computes metrics again from recorded weights and rows. Knows nothing of ledgers
or verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diagnose.errors import ReplayError
from diagnose.replay.backends import ReplayBackend, current_backend
from diagnose.replay.forward import fresh_metric_values, make_step, metric_results
from diagnose.replay.remake import Remaker
from diagnose.replay.runs import BatchRun, by_row, weights_of
from diagnose.trace.composite import Ragged, Sparse, Strings
from diagnose.trace.model import Batch, BatchRef, Digest, NDArray, State, Step
from diagnose.trace.reader import Trace
from diagnose.trace.replicas import Spread

Schedule = Literal["before", "after", "epoch-end", "final"]
"""Which weights each batch is forwarded with: those before its update, after it, at the end of the epoch, after fit."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One corner of the ledger's walk. `inference`: kinds of layers in inference mode; `weighted`: with fit's sample
    weights; `data`: fit's batches of the epoch, or the evaluation data."""

    schedule: Schedule
    inference: frozenset[str]
    weighted: bool
    data: Literal["fit", "evaluate"]


class Replayer:
    """Replays one trace with the model that made it (or one of the same architecture). Use within `borrowed(model, …)`.

    Args:
        evaluation: the batches evaluation goes over.

    Raises:
        ReplayError: the model cannot be replayed, with the reason.
    """

    def __init__(self, trace: Trace, model: Any, evaluation: Sequence[Batch]) -> None:
        self.trace = trace
        self.model = model
        self.evaluation = evaluation
        self.backend: ReplayBackend = current_backend()
        _build(model, trace)
        self.variables = list(model.variables)
        self.metric_variables = list(model.metrics_variables)
        self.kinds = _kinds(trace)
        self.fit_fixed = trace.info.get("batch_axis") == "fixed"
        self.spread = Spread.of(trace)
        self._check()
        self._steps: dict[tuple[bool, frozenset[str]], Callable[..., Any]] = {}
        self._cache: dict[Any, dict[str, float]] = {}
        self._fresh: list[Any] | None = None
        self.remaker = Remaker(self)
        self._results: Callable[..., Any] | None = None

    def _check(self) -> None:
        settings = self.trace.info.get("compile", {})
        if settings.get("custom_train_step") or settings.get("custom_test_step"):
            raise ReplayError("the model has its own train_step or test_step, which is not replayed")
        recorded = self.trace.info.get("variables")
        if recorded is None:
            raise ReplayError("the recording ended before the model's variables were known")
        if [list(v.shape) for v in self.variables] != [v["shape"] for v in recorded if v["group"] != "replica"]:
            raise ReplayError(
                "the model's variables are not those of the trace (another architecture, or changed since)"
            )
        if self.spread is not None and self.spread.count > 1:
            for layer in self.model._flatten_layers(include_self=False):
                if getattr(layer, "synchronized", False) is True:
                    raise ReplayError(
                        f"the layer '{layer.name}' takes its statistics over all replicas (synchronized=True), and "
                        "replicas are replayed one by one"
                    )

    # ── states ──

    def state_before(self, step: Step) -> State:
        """The state a step computed at: the version before it, or what a callback made of that."""
        state = self.trace.index.computed_with(step)
        if state is None:
            hint = ": the model was built in its first step; give it an Input" if step.computed_at == 0 else ""
            raise ReplayError(f"the weights of version {step.computed_at} were not recorded{hint}")
        return state

    def state_after(self, step: Step) -> State:
        """The state a step's update made."""
        state = self.trace.index.produced_by(step)
        if state is None:
            raise ReplayError(f"the weights of version {step.produced} were not recorded")
        return state

    def final_state(self) -> State:
        """The state after fit; the last recorded one if the fit did not end."""
        if self.trace.final is not None:
            return self.trace.final
        if not self.trace.states:
            raise ReplayError("no weights were recorded")
        return self.trace.states[-1]

    def arrays(self, state: State) -> list[NDArray]:
        kept = self.trace.index.kept(state)
        if kept is None:
            if self.spread is not None:
                raise ReplayError(
                    f"the weights of version {state.version} were not kept, and training on {self.spread.count} "
                    "replicas is not run again"
                )
            return self.remaker.arrays(state)
        if len(kept.arrays) != len(self.variables) + len(self._copies):
            raise ReplayError("the model had other variables at that time")
        return self.trace.arrays(kept)[: len(self.variables)]

    @property
    def _copies(self) -> tuple[tuple[int, int, int], ...]:
        return () if self.spread is None else self.spread.copies

    def weights(self, state: State) -> tuple[Digest, ...]:
        """What two states have in common that evaluate alike: all weights, on every replica, but no seeds."""
        recorded = self.trace.info["variables"]
        own = (state.arrays[place] for of, _, place in self._copies if recorded[of]["group"] != "seed")
        return (*state.weights, *own)

    def split_as_evaluate(self, steps: Sequence[Step]) -> bool:
        """Whether these steps' batches were split over replicas as `evaluate` splits batches of the same sizes."""
        return self.spread is None or not any(step.step in self.spread.steps for step in steps)

    def copies(self, state: State) -> dict[tuple[int, int], NDArray]:
        """What further replicas hold for themselves, by (index of the variable, replica)."""
        kept = self.trace.index.kept(state) if self._copies else None
        if kept is None:
            return {}
        return {(of, replica): self.trace.array(kept.arrays[place]) for of, replica, place in self._copies}

    def _values(self, state: State) -> list[list[Any]]:
        """The variables' values on each replica."""
        first = [self.backend.tensor(array) for array in self.arrays(state)]
        replicas = [list(first) for _ in range(1 if self.spread is None else self.spread.local)]
        for (of, replica), array in self.copies(state).items():
            replicas[replica][of] = self.backend.tensor(array)
        return replicas

    # ── V ──

    def value(self, setting: Setting, epoch: int) -> dict[str, float]:
        """All metrics, `loss` included, for one setting and (1-based) epoch, as float64 by log name. Cached."""
        if self.spread is not None and self.spread.partial is not None:
            raise ReplayError(self.spread.partial)
        steps = self.trace.index.steps_of(epoch)
        key: tuple[Any, ...] = (setting.inference == self.kinds or setting.inference, setting.weighted, setting.data)
        if setting.schedule in ("epoch-end", "final"):
            state = self._fixed_state(setting.schedule, epoch)
            # Seeds count only where something is drawn from them: two states equal in weights evaluate alike.
            key += (self.weights(state),) if setting.inference == self.kinds else (state.arrays,)
        else:
            state = None
            key += (setting.schedule,)
        key += (epoch,) if setting.data == "fit" or setting.weighted else ()
        if key not in self._cache:
            if setting.data == "evaluate":
                if state is None:
                    raise ReplayError("evaluation data has no step of its own to take weights from")
                weights = self._row_weights(s.batch for s in steps) if setting.weighted else None
                runs = self._one_state(state, self.evaluation, weights)
            else:
                runs = self._scheduled(steps, setting.schedule, state, setting.weighted)
            training = not self.kinds or setting.inference != self.kinds
            self._cache[key] = self.results(self.run(runs, setting.inference, training=training))
        return self._cache[key]

    def over(
        self, state: State, batches: Iterable[Batch], *, fixed: bool | None = None, evaluation: int | None = None
    ) -> dict[str, float]:
        """All metrics of one state in inference mode over given batches, their weights included.

        Args:
            evaluation: the number of the recorded validation pass that went over them, if one did.
        """
        runs = self._one_state(state, batches, fixed=fixed, evaluation=evaluation)
        return self.results(self.run(runs, self.kinds, training=False))

    def evaluate_state(self, state: State) -> dict[str, float]:
        """All metrics of one state over the evaluation data: what `evaluate` would return."""
        key = ("evaluate", self.weights(state))
        if key not in self._cache:
            self._cache[key] = self.over(state, self.evaluation)
        return self._cache[key]

    @property
    def evaluates_alike(self) -> bool:
        """Whether the model's own `evaluate`, here and now, is spread over replicas as it was in the traced fit. Not so
        with several workers, where it would wait for the others."""
        if self.spread is None:
            return self.backend.spread(self.model) == 1
        return self.spread.partial is None and self.backend.spread(self.model) == self.spread.count

    def _fixed_state(self, schedule: Schedule, epoch: int) -> State:
        if schedule == "final":
            return self.final_state()
        for row in self.trace.epochs:
            if row.epoch == epoch:
                return self.trace.states[row.state]
        raise ReplayError(f"epoch {epoch} did not end")

    def _one_state(
        self,
        state: State,
        batches: Iterable[Batch],
        weights: Mapping[int, Any] | None = None,
        fixed: bool | None = None,
        evaluation: int | None = None,
    ) -> Iterable[BatchRun]:
        """One state over given batches, with the batches' own sample weights or with `weights` by row."""
        values, batches = self._values(state), list(batches)
        if fixed is None:  # as Keras's adapter for arrays: a short last batch leaves the axis open
            fixed = len({batch.size for batch in batches}) == 1
        split = {} if self.spread is None or evaluation is None else self.spread.evaluations
        for i, batch in enumerate(batches):
            own = batch.sample_weight if weights is None else weights_of(batch.rows, weights)
            yield BatchRun(values, batch, own, None, fixed, self._shares(batch, split.get((evaluation or 0, i))))

    def _shares(self, batch: Batch, recorded: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if self.spread is None or self.spread.local == 1 else self.spread.shares(batch.size, recorded)

    def _step_shares(self, step: Step, batch: Batch) -> tuple[int, ...] | None:
        return self._shares(batch, None if self.spread is None else self.spread.steps.get(step.step))

    def _scheduled(
        self, steps: Sequence[Step], schedule: Schedule, state: State | None, weighted: bool
    ) -> Iterable[BatchRun]:
        """Fit's batches, with fit's sample weights or with those evaluation uses."""
        fixed = None if state is None else self._values(state)
        other = None if weighted else by_row((b.rows, b.sample_weight) for b in self.evaluation)
        for step in steps:
            values = fixed
            if values is None:
                values = self._values(self.state_before(step) if schedule == "before" else self.state_after(step))
            batch = self.trace.batch(step.batch)
            weight = batch.sample_weight if other is None else weights_of(batch.rows, other)
            yield BatchRun(values, batch, weight, step, self.fit_fixed, self._step_shares(step, batch))

    def _row_weights(self, refs: Iterable[BatchRef]) -> dict[int, Any]:
        """Fit's sample weight of each row of an epoch."""
        batches = (self.trace.batch(ref) for ref in refs)
        return by_row((batch.rows, batch.sample_weight) for batch in batches)

    def run(self, runs: Iterable[BatchRun], inference: frozenset[str], *, training: bool) -> list[Any]:
        """Metric values after all runs, from reset."""
        metrics = self.fresh()
        for run in runs:
            metrics = self.forward(run, metrics, inference, training=training)
        return metrics

    def fresh(self) -> list[Any]:
        """Metric values right after a reset."""
        if self._fresh is None:
            held = [self.backend.tensor(self.backend.contents(v)) for v in self.metric_variables]
            self._fresh = fresh_metric_values(self.model, self.metric_variables, held)
        return list(self._fresh)

    def forward(
        self, run: BatchRun, metrics: Sequence[Any], inference: frozenset[str] = frozenset(), *, training: bool = True
    ) -> list[Any]:
        """One batch: the metric values after it. The default is a train step's own mode."""
        generator = None
        if run.step is not None and run.step.generator is not None:
            generator = self.trace.array(run.step.generator)
        function = self._step_function(inference, training)
        found = list(metrics)
        with self.backend.generator(generator):
            # Metrics add up over replicas, so what one replica adds can be added to what the others did.
            for values, x, y, weight in run.parts():
                weights = None if weight is None else self.backend.tensor(weight)
                found = list(function(values, found, self.tree(x), self.tree(y), weights, fixed=run.fixed))
        return found

    def results(self, metrics: Sequence[Any]) -> dict[str, float]:
        """What the metrics report in this state, as float64 by log name; metrics that report no scalar are left out."""
        if self._results is None:

            def results(values: Sequence[Any]) -> dict[str, Any]:
                return metric_results(self.model, self.metric_variables, values)

            self._results = self.backend.compile_simple(results)
        found = self._results(list(metrics))
        arrays = {name: self.backend.array(value) for name, value in found.items()}
        return {name: float(a) for name, a in arrays.items() if a.ndim == 0}

    def step_run(self, step: Step) -> BatchRun:
        """A train step exactly as fit ran it."""
        batch = self.trace.batch(step.batch)
        values, shares = self._values(self.state_before(step)), self._step_shares(step, batch)
        return BatchRun(values, batch, batch.sample_weight, step, self.fit_fixed, shares)

    def metric_tensors(self, raw: bytes) -> list[Any] | None:
        """Recorded metric state as backend values; None if it belongs to other metrics."""
        arrays = self.metric_arrays(raw)
        return None if arrays is None else [self.backend.tensor(a) for a in arrays]

    def metric_arrays(self, raw: bytes) -> list[NDArray] | None:
        arrays: list[NDArray] = []
        start = 0
        for v in self.metric_variables:
            dtype = np.dtype(str(v.dtype))
            count = int(np.prod(v.shape, dtype=np.int64))
            end = start + count * dtype.itemsize
            if end > len(raw):
                return None
            arrays.append(np.frombuffer(raw[start:end], dtype).reshape(v.shape))
            start = end
        return arrays if start == len(raw) else None

    def tree(self, tree: Any) -> Any:
        if tree is None:
            return None
        if isinstance(tree, Mapping):
            return {k: self.tree(v) for k, v in tree.items()}
        if isinstance(tree, (list, tuple)):
            return type(tree)(self.tree(v) for v in tree)
        if isinstance(tree, (Ragged, Sparse, Strings)):
            return self.backend.composite(tree)
        return self.backend.tensor(tree)

    def _step_function(self, inference: frozenset[str], training: bool) -> Callable[..., Any]:
        key = (training, inference if training else self.kinds)
        if key not in self._steps:
            forced = self._forced(inference) if training else []
            step = make_step(self.model, self.variables, self.metric_variables, training=training, forced=forced)
            self._steps[key] = self.backend.compile(step, eagerly=bool(self.model.run_eagerly))
        return self._steps[key]

    def _forced(self, inference: frozenset[str]) -> list[Any]:
        layers = self.model._flatten_layers(include_self=False)
        recorded = self.trace.info["model"]["layers"]
        if len(layers) != len(recorded):
            raise ReplayError("the model's layers are not those of the trace")
        forced = [x for x, seen in zip(layers, recorded, strict=True) if seen["kind"] in inference]
        if self.trace.info["model"].get("own_training") and "other-training-mode" in inference:
            forced.append(self.model)
        return [x for x in forced if x._call_has_training_arg]


def _build(model: Any, trace: Trace) -> None:
    """A model that was compiled but never used makes its metrics' variables with its first batch; fit does the same."""
    metrics = getattr(model, "_compile_metrics", None)
    if model.built and (metrics is None or metrics.built):
        return
    ref = next((step.batch for step in trace.steps if step.batch.missing is None), None)
    if ref is None:
        return
    batch = trace.batch(ref)
    try:
        model._symbolic_build(data_batch=(batch.x, batch.y, batch.sample_weight))
    except Exception as error:
        raise ReplayError(f"the model cannot be built on the trace's batches ({type(error).__name__})") from error


def _kinds(trace: Trace) -> frozenset[str]:
    model = trace.info.get("model") or {"layers": []}
    found = {layer["kind"] for layer in model["layers"] if layer["kind"]}
    if model.get("own_training"):
        found.add("other-training-mode")
    return frozenset(found)
