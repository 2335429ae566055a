"""V(schedule, mode, weighting, data): computes metrics again from recorded weights and rows. Knows nothing of ledgers
or verdicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from diagnose.errors import ReplayError
from diagnose.replay.blocks import Passed, blocks
from diagnose.replay.engine import TRAINING, Engine, Mode, metric_values
from diagnose.replay.recorded import Recorded
from diagnose.replay.remake import Remaker
from diagnose.replay.runs import BatchRun, by_row, larger_batches, weights_of
from diagnose.replay.states import Held, States
from diagnose.tracefile.model import Batch, BatchRef, NDArray, State, Step
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread
from diagnose.tracefile.steps import logged_steps

PENALTIES: Final = "loss: penalties"
"""The name, among a setting's values, of the part of `loss` that comes from penalties (`Pass`)."""

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


@dataclass(frozen=True, slots=True)
class Known:
    """What a replayer has computed so far, for another of the same trace and data."""

    values: dict[Any, dict[frozenset[str], dict[str, float]]]
    evaluated: dict[Any, dict[str, float]]
    made_again: set[int]
    epochs: set[int]


class Replayer:
    """Replays one trace with an engine that was opened for it.

    Args:
        evaluation: the batches evaluation goes over.

    Raises:
        ReplayError: the model cannot be replayed, with the reason.
    """

    def __init__(self, trace: Trace, engine: Engine, evaluation: Sequence[Batch]) -> None:
        self.trace = trace
        self.engine = engine
        self.evaluation = evaluation
        self.spread = Spread.of(trace)
        self.kinds = engine.switches
        self.remaker = Remaker(trace, engine, Recorded(trace, self.spread))
        self.states = States(trace, self.spread, engine, self.remaker)
        self._check()
        self._cache: dict[Any, dict[frozenset[str], dict[str, float]]] = {}
        self._evaluated: dict[Any, dict[str, float]] = {}
        self._after_steps: dict[int, list[list[NDArray]]] = {}

    def _check(self) -> None:
        recorded = self.trace.header.variables
        if not recorded and self.engine.shapes:
            raise ReplayError("the recording ended before the model's variables were known")
        shapes = [v.shape for v in recorded if v.group != "replica"]
        if self.engine.shapes != shapes:
            raise ReplayError(
                "the model's variables are not those of the trace (another architecture, or changed since)"
            )

    @property
    def known(self) -> Known:
        """What was computed, to be handed to another process or taken from it."""
        return Known(self._cache, self._evaluated, self.remaker.versions, self.remaker.epochs)

    def learn(self, known: Known) -> None:
        """Takes what another replayer of the same trace and data computed for computed."""
        for key, values in known.values.items():
            self._cache.setdefault(key, {}).update(values)
        self._evaluated.update(known.evaluated)
        self.remaker.versions |= known.made_again
        self.remaker.epochs |= known.epochs

    def steps(self, epoch: int) -> list[Step]:
        """The steps of a (1-based) epoch, in order. What was not seen of them is made again first.

        Raises:
            ReplayError: that cannot be done, with the reason.
        """
        return self.remaker.steps(epoch)

    def split_as_evaluate(self, steps: Sequence[Step]) -> bool:
        """Whether these steps' batches were split over replicas as `evaluate` splits batches of the same sizes."""
        return self.spread is None or not any(step.batch.layout.shares for step in steps)

    def logged_steps(self, epoch: int) -> Sequence[Step]:
        """The steps that the log of a (1-based) epoch covers. A loop of `train_on_batch` resets its metrics before
        every step; the value of its epoch is that of all steps together."""
        steps = self.steps(epoch)
        return steps if self.is_loop else logged_steps(steps)

    @property
    def is_loop(self) -> bool:
        """Whether a loop of `train_on_batch` was traced, not a `fit`."""
        return self.trace.header.fit.loop == "train_on_batch"

    # ── V ──

    def value(self, setting: Setting, epoch: int) -> dict[str, float]:
        """All metrics, `loss` included, for one setting and (1-based) epoch, as float64 by log name. Cached."""
        if self.spread is not None and self.spread.partial is not None:
            raise ReplayError(self.spread.partial)
        state = None
        if setting.schedule in ("epoch-end", "final"):
            state = self.states.final() if setting.schedule == "final" else self.states.end_of(epoch)
        where = setting.schedule if state is None else state.arrays
        of_epoch = setting.data == "fit" or setting.weighted or self.engine.carried
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
        None where that is not all of the steps, one after the other, or the step is the user's own."""
        steps = self.steps(epoch)
        one_by_one = steps == list(self.logged_steps(epoch)) and not self.is_loop
        if not steps or not one_by_one or self.engine.own_train or self._modes(frozenset())[0] != TRAINING:
            return None
        if self.spread is not None and self.spread.partial is not None:
            return None
        self.value(Setting("before", frozenset(), True, "fit"), epoch)
        return self._after_steps.get(epoch)

    def _modes(self, inference: frozenset[str]) -> list[Mode]:
        """All modes, the plain training mode first, as a ledger asks for all of them and they cost little side by side;
        of many kinds, or where a step of the user's own runs, the one."""
        engine, kinds = self.engine, sorted(self.kinds)
        if len(kinds) > SIDE_BY_SIDE or engine.own_train or engine.own_test:
            return [self._mode(inference)]
        subsets = [frozenset(c) for n in range(len(kinds) + 1) for c in itertools.combinations(kinds, n)]
        return [self._mode(subset) for subset in subsets]

    def _mode(self, inference: frozenset[str]) -> Mode:
        """Training, until every kind that differs is in inference mode. Without such kinds there is no difference."""
        return Mode(inference, not self.kinds or inference != self.kinds)

    def _metrics_at_reset(self, epoch: int) -> list[Any] | None:
        """What the metrics held when the log's first step began, where something had reset them inside the epoch: an
        `evaluate` leaves its own rows in them."""
        first = self.logged_steps(epoch)[0]
        if first.batch_index == 0 or first.metrics_before is None:
            return None
        return metric_values(self.engine, first.metrics_before)

    def _runs(self, setting: Setting, state: State | None, epoch: int) -> Iterable[BatchRun]:
        steps = self.logged_steps(epoch)
        if setting.data == "fit":
            return self._scheduled(steps, setting.schedule, state, setting.weighted)
        if state is None:
            raise ReplayError("evaluation data has no step of its own to take weights from")
        weights = self._row_weights(s.batch for s in steps) if setting.weighted else None
        return self.one_state(state, self.evaluation, weights)

    def _left(self, mode: Mode, setting: Setting, epoch: int) -> list[Any] | None:
        """What stateful layers start from: what `evaluate` finds once "other-training-mode" is walked, until then what
        the epoch's first step found. None: no such layers, or each step's own, as recorded."""
        if not self.engine.carried:
            return None
        if "other-training-mode" in mode.inference:
            start = self.states.final()
        elif setting.schedule == "before" and setting.data == "fit":
            return None
        else:
            start = self.states.before(self.logged_steps(epoch)[0])
        values = self.states.values(start)[0]
        return [values[place] for place in self.engine.carried]

    def over(
        self, state: State, batches: Iterable[Batch], *, fixed: bool | None = None, evaluation: int | None = None
    ) -> dict[str, float]:
        """All metrics of one state in inference mode over given batches, their weights included.

        Args:
            evaluation: the number of the recorded validation pass that went over them, if one did.
        """
        runs = self.one_state(state, batches, fixed=fixed, evaluation=evaluation)
        return self._inference(runs, carry=True)

    def with_weights(self, arrays: Sequence[NDArray], batches: Iterable[Batch]) -> dict[str, float]:
        """All metrics in inference mode over given batches, of weights that no recorded state has."""
        values = Held(self.engine.value, arrays, replicas=1 if self.spread is None else self.spread.local)
        return self._inference(self._one_weights(values, batches), carry=True)

    def penalties(self, arrays: Sequence[NDArray], batches: Iterable[Batch]) -> float | None:
        """What the loss holds beside that of the labels, of such weights over such batches; None: not told."""
        values = Held(self.engine.value, arrays, replicas=1 if self.spread is None else self.spread.local)
        modes = [Mode(self.kinds, False)]
        return self.run(self._one_weights(values, batches), modes, [True], [None])[0].get(PENALTIES)

    def _inference(self, runs: Iterable[BatchRun], *, carry: bool, left: list[Any] | None = None) -> dict[str, float]:
        values = self.run(runs, [Mode(self.kinds, False)], [carry], [left])[0]
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
        return not self.engine.carried and self.spread is None

    @cached_property
    def _coarse(self) -> Sequence[Batch]:
        names = list(self.engine.results(self.engine.fresh()))
        if not self.pools_rows or not all(self.engine.pooled(name) for name in names):
            return self.evaluation
        return larger_batches(self.evaluation)

    def scored(self, epoch: int, schedule: Literal["before", "after"]) -> dict[str, float]:
        """All metrics in inference mode over fit's batches of an epoch, each with the weights before or after its
        update."""
        runs = self._scheduled(self.steps(epoch), schedule, None, True)
        return self._inference(runs, carry=False)

    def evaluate_from_zero(self, state: State) -> dict[str, float]:
        """The same, had the states of stateful layers been zero before; empty where there are none."""
        if not self.engine.carried:
            return {}
        arrays = self.states.arrays(state)
        zeros = [self.engine.value(np.zeros_like(arrays[place])) for place in self.engine.carried]
        runs = self.one_state(state, self.evaluation)
        return self._inference(runs, carry=True, left=zeros)

    @property
    def evaluates_alike(self) -> bool:
        """Whether the framework's own `evaluate`, here and now, is spread over replicas as it was in the traced fit.
        Not so with several workers, where it would wait for the others."""
        if self.spread is None:
            return self.engine.replicas == 1
        return self.spread.partial is None and self.engine.replicas == self.spread.count

    def one_state(
        self,
        state: State,
        batches: Iterable[Batch],
        weights: Mapping[int, Any] | None = None,
        fixed: bool | None = None,
        evaluation: int | None = None,
    ) -> Iterable[BatchRun]:
        """One state over given batches."""
        return self._one_weights(self.states.values(state), batches, weights, fixed, evaluation)

    def _one_weights(
        self,
        values: Held,
        batches: Iterable[Batch],
        weights: Mapping[int, Any] | None = None,
        fixed: bool | None = None,
        evaluation: int | None = None,
    ) -> Iterable[BatchRun]:
        """One set of weights over given batches, with the batches' own sample weights or with `weights` by row."""
        batches = list(batches)
        if fixed is None:  # as for arrays: a short last batch leaves the axis open
            fixed = len({batch.size for batch in batches}) == 1
        for batch in batches:
            own = batch.sample_weight if weights is None else weights_of(batch.rows, weights)
            recorded = None if evaluation is None else batch.shares
            yield BatchRun(values, batch, own, None, fixed, self._shares(batch, recorded), values.arrays)

    def _shares(self, batch: Batch, recorded: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if self.spread is None or self.spread.local == 1 else self.spread.shares(batch.size, recorded)

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
            yield BatchRun(values, batch, weight, step, batch.fixed, self._shares(batch, batch.shares), values.arrays)

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
        metrics: list[list[Any]] = [start or self.engine.fresh() for _ in modes]
        done, sizes = Passed(metrics, list(left)), []
        penalties: list[list[float | None]] = []
        for block in blocks(runs):
            done = self.engine.forward_all(block, done.metrics, modes, carry, done.left)
            sizes += [run.batch.size for run in block]
            penalties += done.penalties
            if each_step is not None:
                each_step += done.each
        logs = done.logs or [None] * len(modes)
        found = [self.engine.results(m, log) for m, log in zip(done.metrics, logs, strict=True)]
        if sum(sizes):
            for values, own in zip(found, zip(*penalties, strict=True), strict=True):
                # As the loss tracker: a mean over rows of what each batch's loss had in it.
                each = [p * n for p, n in zip(own, sizes, strict=True) if p is not None]
                if len(each) == len(sizes):
                    values[PENALTIES] = math.fsum(each) / sum(sizes)
        return found

    def step_run(self, step: Step) -> BatchRun:
        """A train step exactly as fit ran it."""
        batch = self.trace.batch(step.batch)
        values, shares = self.states.values(self.states.before(step)), self._shares(batch, batch.shares)
        return BatchRun(values, batch, batch.sample_weight, step, batch.fixed, shares, values.arrays)
