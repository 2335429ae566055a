"""V(schedule, mode, weighting, data): computes metrics again from recorded weights and rows. Knows nothing of ledgers
or verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.layers import layers_of
from diagnose.frameworks.keras.origin import step_by_keras
from diagnose.replay.build import build, same_variables
from diagnose.replay.executions import seen_through
from diagnose.replay.passes import TRAINING, Mode, Pass, Passes, own_steps
from diagnose.replay.pooling import pooled
from diagnose.replay.reachable import own_optimizers
from diagnose.replay.remake import Remaker
from diagnose.replay.runs import BatchRun, by_row, larger_batches, weights_of
from diagnose.replay.states import States
from diagnose.result.problems import users_code
from diagnose.tracefile.model import Batch, BatchRef, NDArray, State, Step
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread
from diagnose.tracefile.steps import logged_steps

PENALTIES: Final = "loss: penalties"
"""The name, among a setting's values, of the part of `loss` that comes from `model.losses`."""

SIDE_BY_SIDE = 3
"""Kinds of layers up to which all their modes are computed in one go."""

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
        self.spread = Spread.of(trace)
        build(model, trace)
        self.remaker = Remaker(self)
        self.passes = Passes(trace, model, self.remaker.optimizer_state)
        self.backend = self.passes.backend
        self.variables = self.passes.variables
        self.kinds = self.passes.kinds
        self.states = States(self)
        self.fit_fixed = trace.info.get("batch_axis") == "fixed"
        self._check()
        self._cache: dict[Any, dict[frozenset[str], dict[str, float]]] = {}
        self._evaluated: dict[Any, dict[str, float]] = {}
        self._after_steps: dict[int, list[list[NDArray]]] = {}
        self._unseen: dict[int, ReplayError] = {}

    def _check(self) -> None:
        recorded = self.trace.info.get("variables")
        if recorded is None:
            raise ReplayError("the recording ended before the model's variables were known")
        if not same_variables(self.model, self.trace):
            raise ReplayError(
                "the model's variables are not those of the trace (another architecture, or changed since)"
            )
        if self.spread is not None and self.spread.count > 1:
            if any(own_steps(self.trace)):
                raise ReplayError("the model's own train_step or test_step is not replayed on several replicas")
            if self.passes.carried:
                raise ReplayError("stateful layers are not replayed on several replicas")
            for layer in layers_of(self.model):
                if getattr(layer, "synchronized", False) is True:
                    raise ReplayError(
                        f"the layer '{layer.name}' takes its statistics over all replicas (synchronized=True), and "
                        "replicas are replayed one by one"
                    )

    def steps(self, epoch: int) -> list[Step]:
        """The steps of a (1-based) epoch, in order. What was not seen of them is made again first.

        Raises:
            ReplayError: that cannot be done, with the reason.
        """
        if not self.trace.index.seen_through(epoch):
            if epoch not in self._unseen:
                try:
                    with users_code("training the epoch once more"):
                        seen_through(self, epoch)
                except ReplayError as error:
                    self._unseen[epoch] = error
            if epoch in self._unseen:
                raise self._unseen[epoch]
        return self.trace.index.steps_of(epoch)

    def split_as_evaluate(self, steps: Sequence[Step]) -> bool:
        """Whether these steps' batches were split over replicas as `evaluate` splits batches of the same sizes."""
        return self.spread is None or not any(step.step in self.spread.steps for step in steps)

    def logged_steps(self, epoch: int) -> Sequence[Step]:
        """The steps that the log of a (1-based) epoch covers. A loop of `train_on_batch` resets its metrics before
        every step; the value of its epoch is that of all steps together."""
        steps = self.steps(epoch)
        return steps if self.is_loop else logged_steps(steps)

    @property
    def is_loop(self) -> bool:
        """Whether a loop of `train_on_batch` was traced, not a `fit`."""
        return (self.trace.info.get("fit") or {}).get("loop") == "train_on_batch"

    def unrecorded(self) -> str | None:
        """What the model's own train step works with and no trace holds, as a reason why steps come out otherwise."""
        count = len(own_optimizers(self.model)) if self.passes.own_train else 0
        if not count:
            return None
        which = "an optimizer" if count == 1 else f"{count} optimizers"
        return (
            f"the model's own train step has {which} beside the compiled one, whose state is not recorded: what it "
            "computes after their updates comes out otherwise"
        )

    # ── V ──

    def value(self, setting: Setting, epoch: int) -> dict[str, float]:
        """All metrics, `loss` included, for one setting and (1-based) epoch, as float64 by log name. Cached."""
        if self.spread is not None and self.spread.partial is not None:
            raise ReplayError(self.spread.partial)
        state = None
        if setting.schedule in ("epoch-end", "final"):
            state = self.states.final() if setting.schedule == "final" else self.states.end_of(epoch)
        where = setting.schedule if state is None else state.arrays
        of_epoch = setting.data == "fit" or setting.weighted or self.passes.carried
        key = (where, setting.weighted, setting.data, epoch if of_epoch else None)
        found = self._cache.setdefault(key, {})
        if setting.inference not in found:
            modes = self._modes(setting.inference)
            runs = self._runs(setting, state, epoch)
            left = [self._left(mode, setting, epoch) for mode in modes]
            carry = [own is not None for own in left]
            start = self._metrics_at_reset(epoch) if setting.data == "fit" else None
            as_logged = (setting.schedule, setting.weighted, setting.data, modes[0]) == (
                "before",
                True,
                "fit",
                TRAINING,
            )
            each = self._after_steps.setdefault(epoch, []) if as_logged else None
            for mode, values in zip(modes, self.run(runs, modes, carry, left, start, each), strict=True):
                found[mode.inference] = values
        return found[setting.inference]

    def logged_replay(self, epoch: int) -> list[list[NDArray]] | None:
        """The metric state after each step of a (1-based) epoch, as its log was computed: what `value` begins with.
        None where that is not all of the steps, one after the other, or not one step of Keras's own."""
        steps = self.steps(epoch)
        one_by_one = steps == list(self.logged_steps(epoch)) and not self.is_loop
        if not steps or not one_by_one or self.passes.own_train or self._modes(frozenset())[0] != TRAINING:
            return None
        if self.spread is not None and self.spread.partial is not None:
            return None
        self.value(Setting("before", frozenset(), True, "fit"), epoch)
        return self._after_steps.get(epoch)

    def _modes(self, inference: frozenset[str]) -> list[Mode]:
        """All modes, the plain training mode first, as a ledger asks for all of them and they cost little side by side;
        of many kinds, or where the model's own step runs, the one."""
        passes, kinds = self.passes, sorted(self.kinds)
        if len(kinds) > SIDE_BY_SIDE or passes.own_train or passes.own_test:
            return [passes.mode(inference)]
        subsets = [frozenset(c) for n in range(len(kinds) + 1) for c in itertools.combinations(kinds, n)]
        return [passes.mode(subset) for subset in subsets]

    def _metrics_at_reset(self, epoch: int) -> list[Any] | None:
        """What the metrics held when the log's first step began, where something had reset them inside the epoch: an
        `evaluate` leaves its own rows in them."""
        first = self.logged_steps(epoch)[0]
        if first.batch_index == 0 or first.metrics_before is None:
            return None
        return self.passes.metric_tensors(first.metrics_before)

    def _runs(self, setting: Setting, state: State | None, epoch: int) -> Iterable[BatchRun]:
        steps = self.logged_steps(epoch)
        if setting.data == "fit":
            return self._scheduled(steps, setting.schedule, state, setting.weighted)
        if state is None:
            raise ReplayError("evaluation data has no step of its own to take weights from")
        weights = self._row_weights(s.batch for s in steps) if setting.weighted else None
        return self._one_state(state, self.evaluation, weights)

    def _left(self, mode: Mode, setting: Setting, epoch: int) -> list[Any] | None:
        """What stateful layers start from: what `evaluate` finds once "other-training-mode" is walked, until then what
        the epoch's first step found. None: no such layers, or each step's own, as recorded."""
        if not self.passes.carried:
            return None
        if "other-training-mode" in mode.inference:
            start = self.states.final()
        elif setting.schedule == "before" and setting.data == "fit":
            return None
        else:
            start = self.states.before(self.logged_steps(epoch)[0])
        values = self.states.values(start)[0]
        return [values[place] for place in self.passes.carried]

    def over(
        self, state: State, batches: Iterable[Batch], *, fixed: bool | None = None, evaluation: int | None = None
    ) -> dict[str, float]:
        """All metrics of one state in inference mode over given batches, their weights included.

        Args:
            evaluation: the number of the recorded validation pass that went over them, if one did.
        """
        runs = self._one_state(state, batches, fixed=fixed, evaluation=evaluation)
        return self._inference(runs, carry=True)

    def _inference(self, runs: Iterable[BatchRun], *, carry: bool, left: list[Any] | None = None) -> dict[str, float]:
        values = self.run(runs, [self.passes.inference], [carry], [left])[0]
        return {name: value for name, value in values.items() if name != PENALTIES}

    def evaluate_state(self, state: State, *, coarse: bool = False) -> dict[str, float]:
        """All metrics of one state over the evaluation data: what `evaluate` would return.

        Args:
            coarse: in larger batches than `evaluate`'s where no metric depends on them, which is faster and the same
                up to float rounding.
        """
        # Nothing is drawn in inference mode: states that differ in seeds only evaluate alike.
        key = self.states.weights(state), self.states.carried(state)
        if key not in self._evaluated:
            self._evaluated[key] = self.over(state, self._coarse if coarse else self.evaluation)
        return self._evaluated[key]

    @property
    def pools_rows(self) -> bool:
        """Whether nothing but a metric can make a value depend on how rows are split into batches."""
        return not self.passes.carried and self.spread is None

    @cached_property
    def _coarse(self) -> Sequence[Batch]:
        names = list(self.passes.results(self.passes.fresh()))
        if not self.pools_rows or not all(pooled(self.model, name) for name in names):
            return self.evaluation
        return larger_batches(self.evaluation)

    def scored(self, epoch: int, schedule: Literal["before", "after"]) -> dict[str, float]:
        """All metrics in inference mode over fit's batches of an epoch, each with the weights before or after its
        update."""
        runs = self._scheduled(self.steps(epoch), schedule, None, True)
        return self._inference(runs, carry=False)

    def evaluate_from_zero(self, state: State) -> dict[str, float]:
        """The same, had the states of stateful layers been zero before; empty where there are none."""
        if not self.passes.carried:
            return {}
        values = self.states.values(state)[0]
        zeros = [values[place] * 0 for place in self.passes.carried]
        runs = self._one_state(state, self.evaluation)
        return self._inference(runs, carry=True, left=zeros)

    @property
    def evaluates_alike(self) -> bool:
        """Whether the model's own `evaluate`, here and now, is spread over replicas as it was in the traced fit. Not so
        with several workers, where it would wait for the others."""
        if self.spread is None:
            return self.backend.spread(self.model) == 1
        return self.spread.partial is None and self.backend.spread(self.model) == self.spread.count

    def _one_state(
        self,
        state: State,
        batches: Iterable[Batch],
        weights: Mapping[int, Any] | None = None,
        fixed: bool | None = None,
        evaluation: int | None = None,
    ) -> Iterable[BatchRun]:
        """One state over given batches, with the batches' own sample weights or with `weights` by row."""
        values, batches = self.states.values(state), list(batches)
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
        fixed = None if state is None else self.states.values(state)
        other = None if weighted else by_row((b.rows, b.sample_weight) for b in self.evaluation)
        for step in steps:
            values = fixed
            if values is None:
                values = self.states.values(
                    self.states.before(step) if schedule == "before" else self.states.after(step)
                )
            batch = self.trace.batch(step.batch)
            weight = batch.sample_weight if other is None else weights_of(batch.rows, other)
            yield BatchRun(values, batch, weight, step, self.fit_fixed, self._step_shares(step, batch))

    def _row_weights(self, refs: Iterable[BatchRef]) -> dict[int, Any]:
        """Fit's sample weight of each row of an epoch."""
        batches = (self.trace.batch(ref) for ref in refs)
        return by_row((batch.rows, batch.sample_weight) for batch in batches)

    def run(
        self,
        runs: Iterable[BatchRun],
        modes: Sequence[Mode],
        carry: Sequence[bool],
        left: Sequence[list[Any] | None],
        start: list[Any] | None = None,
        each_step: list[list[NDArray]] | None = None,
    ) -> list[dict[str, float]]:
        """All metrics after all runs, from reset, and `PENALTIES` in the loss; for each mode.

        Args:
            start: metric state to begin with in place of a reset.
            each_step: gets the metric state of the first mode after each run.
            carry: hand the states of stateful layers from run to run, first `left`, rather than take each run's own.
        """
        metrics: list[list[Any]] = [start or self.passes.fresh() for _ in modes]
        left, sizes = list(left), []
        penalties: list[list[Any]] = []
        done: list[Pass] = []
        for run in runs:
            done = self.passes.forward(run, metrics, modes, left)
            metrics = [each.metrics for each in done]
            left = [each.left if on else None for each, on in zip(done, carry, strict=True)]
            sizes.append(run.batch.size)
            penalties.append([each.penalties for each in done])
            if each_step is not None:
                each_step.append([self.backend.array(m) for m in metrics[0]])
        logs = [each.logs for each in done] or [None] * len(modes)
        found = [self.passes.results(m, log) for m, log in zip(metrics, logs, strict=True)]
        if sum(sizes) and self._splits_loss:
            for values, own in zip(found, zip(*penalties, strict=True), strict=True):
                if all(p is not None for p in own):
                    # As the loss tracker: a mean over rows of what each batch's loss had in it.
                    each = [float(self.backend.array(p)) * n for p, n in zip(own, sizes, strict=True)]
                    values[PENALTIES] = math.fsum(each) / sum(sizes)
        return found

    @property
    def _splits_loss(self) -> bool:
        """Whether the loss is what Keras makes of it: data loss plus all of `model.losses`."""
        return step_by_keras(self.model, "compute_loss")

    def step_run(self, step: Step) -> BatchRun:
        """A train step exactly as fit ran it."""
        batch = self.trace.batch(step.batch)
        values, shares = self.states.values(self.states.before(step)), self._step_shares(step, batch)
        return BatchRun(values, batch, batch.sample_weight, step, self.fit_fixed, shares)
