"""Records one fit: reads state around steps and at hooks, and hands it to the background thread. Runs on the training
thread.

Copies are the only work done here; digests and files are the background thread's. Changes nothing it reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diagnose.errors import DiagnoseError
from diagnose.record import describe, describe_data, describe_metrics, previous
from diagnose.record.at_source import Placed
from diagnose.record.backends.base import Backend
from diagnose.record.batches import TakenBatch
from diagnose.record.first_step import FirstStep
from diagnose.record.items import (
    EpochItem,
    EvaluationBatchItem,
    EvaluationItem,
    EventItem,
    InfoItem,
    SnapshotPool,
    StateItem,
    StepItem,
    TrainEndItem,
)
from diagnose.record.light import DIGESTS, INPUTS, METRICS, metric_state
from diagnose.record.order import RowOrder
from diagnose.record.packs import MetricState, raw
from diagnose.record.told import Told
from diagnose.record.worker import Ended, Worker, describe_error
from diagnose.tracefile.model import Json

NOT_SEEN = "its data could not be seen where Keras draws it"


class Recorder(Told):
    """The memory of one traced fit. All methods are called by `Tracer`, probes and wrapped functions of the same
    fit."""

    def __init__(
        self,
        model: Any,
        backend: Backend,
        worker: Worker,
        identity: str,
        level: int,
        policy: Mapping[str, Json],
        start: previous.Start,
    ) -> None:
        super().__init__(model, backend, worker, level, policy)
        self.id = identity
        """What the trace is known by."""
        self.start = start
        self.pid = os.getpid()
        self.failed: str | None = None
        self.finished = False
        self.take_out: Callable[[], None] = lambda: None
        """Takes all that records out of model and callbacks, when recording ends before the fit does."""
        self._ending = threading.RLock()
        self._ended_by: int | None = None
        self.saved_files: list[str] = []  # since the last callback was looked at
        self._spread = spread = backend.distribution(model)
        if spread is not None:
            value = {"strategy": spread.strategy, "count": spread.replicas, "local": spread.local}
            worker.put(InfoItem("replicas", value))
        self._slots = SnapshotPool(spare=1)
        self._epoch_first = 0
        self._epoch_started = 0.0
        self._armed = False
        self._metrics_trusted = False
        self._taken: list[TakenBatch | Placed | str] = []
        self._first: FirstStep | None = None
        self._step_started = 0.0
        self._evaluating = False
        self._evaluation = 0
        self._evaluation_observed = False
        self.order = RowOrder()

    @property
    def metric_state(self) -> bytes | None:
        """The metrics' variables as of the last look: before a step that has begun, or after the last step."""
        return raw(self._metrics)

    # ── steps (StepHook for the train function) ──

    def active(self) -> bool:
        """False once tracing has stopped, and in a forked child, which must never write its parent's trace."""
        return not self.finished and self.failed is None and self.pid == os.getpid()

    def begin_epoch(self, epoch: int) -> None:
        """`epoch` is 1-based."""
        self.epoch = epoch
        self._epoch_first = self.step
        self._epoch_started = time.perf_counter()
        self._batch_index = 0
        self._metrics = None  # Keras sets them to zero at the start of an epoch
        self._metrics_trusted = False
        self._source_begins()

    def arm(self) -> None:
        """The next call of the train function is this fit's own."""
        self._armed = True

    def take_armed(self) -> bool:
        armed, self._armed = self._armed and self.active() and not self._evaluating, False
        return armed

    def batch_axis(self, key: str, fixed: bool) -> None:
        """Notes whether steps (`key` "batch_axis") or validation steps are compiled for one batch size."""
        self._axes[key] = fixed

    def before_step(self, data: Any, state: Any) -> None:
        if self._observed is None and self.step == 0:
            self.observe("before-first-step", None, state)
        if self.step == 0:
            self._forget_variables_if_others()  # the optimizer's slots may have been made since the first look
        if self.step == 0 and self._readable():
            optimizer = self._copies(self._live(state).optimizer())
            self.worker.put(previous.start(self.model, optimizer))
        if self.step == 0 and not self._readable():
            self._first = FirstStep(self.model, self.backend)
        self._taken = []
        if data is not None:
            self.fetched([data])
        # In a light recording, what a step begins with follows from what the epoch began with.
        begins = self.level >= DIGESTS or self._batch_index == 0
        if not self._metrics_trusted:
            readable = self._readable()
            self._metrics = metric_state(self.backend, self._live(state)) if readable else None
        self._generator = self.backend.generator_state() if begins else None
        if self._spread is None and begins:
            self._seed.look(self.model, first=self.step == 0)
        self._step_started = time.perf_counter()

    def fetched(self, batches: Sequence[Any]) -> None:
        """The batches of the execution that has begun."""
        if len(batches) > getattr(self.model, "steps_per_execution", 1):
            self._taken = [f"one step of the model's own took {len(batches)} batches"]
            return
        self._taken = [self._taker.take(data) for data in batches]

    def fetched_by_place(self) -> bool:
        """Whether a source told the batches of the execution that has begun, so that `fetched` need not."""
        found = self.placed()
        if found is not None:
            self._taken = [*found]
        return found is not None

    def after_step(self, state: Any) -> None:
        """After one execution: a step, or with `steps_per_execution` as many as it drew batches. Of these, the weights
        and the metrics are seen after the last only."""
        seconds = time.perf_counter() - self._step_started
        if self._first is not None:
            self._first.end()
        if self.level >= DIGESTS or self._batch_index == 0:
            self._seed.look_back(self.model)
        if self.step == 0:
            self._forget_variables_if_others()  # metrics and slots may have been made in this step
            self.worker.put(InfoItem("metric_variables", describe_metrics.metric_variables(self.model)))
            self.worker.put(InfoItem("metrics", describe_data.metrics(self.model)))
            self.worker.put(InfoItem("optimizer_variables", describe.optimizer_variables(self.model)))
        if not self._taken and getattr(self.model, "steps_per_execution", 1) > 1:
            raise DiagnoseError(f"it cannot be told how many steps one execution made: {NOT_SEEN}")
        looks = self.level >= DIGESTS or self.step == 0
        look = self._look(state, whole=looks) if looks or self.level == METRICS else None
        live = self._live(state) if looks and look is None else None
        first, self._first = self._first, None
        if first is not None and self.variables is not None and first.saw(self.variables.all):
            self._seed.state = first.seed
            self.worker.put(StateItem("before-first-step", None, self.epoch or None, self.step, first.snapshot()))
        after: MetricState = look
        if live is not None or (look is None and self.level == METRICS):
            after = metric_state(self.backend, live or self._metrics_live(state))
        # A step that made metrics of its own has another state after it than before.
        same = after is None or self._metrics is None or len(self._metrics) == len(after)
        before = self._metrics if same and (after is not None or not looks) else None
        made = self.snapshot(live) if live is not None else look if looks else None
        if self.step == 0 and made is not None and after is not None:
            self._sizes = sum(array.nbytes for array in made.arrays), len(after)
        batches = self._taken or [NOT_SEEN]
        for place, batch in enumerate(batches):
            last = place == len(batches) - 1
            self._last.put(
                StepItem(
                    step=self.step,
                    epoch=self.epoch,
                    batch_index=self._batch_index,
                    batch=batch,
                    metrics_before=before if place == 0 else None,
                    metrics_after=after if last else None,
                    generator=self._generator,
                    seconds=seconds / len(batches),
                    after=made if last else None,
                    fixed=self._axes.get("batch_axis", False),
                    global_seed=self._seed.state if place == 0 else None,
                )
            )
            self.step += 1
            self._batch_index += 1
        taken, self._taken = self._taken, []
        self._metrics, self._generator, self._seed.state = after, None, None
        self._metrics_trusted = not self.batch_hooks_present or self.level == INPUTS
        self._observed = None
        self._take_over(taken)
        if self.choice is not None:
            self._stepped(self.choice)

    # ── validation (StepHook for the test function) ──

    def begin_evaluation(self) -> None:
        self.steps_end()
        self._evaluating = True
        self._evaluation += 1
        self._evaluation_observed = False

    def evaluation_active(self) -> bool:
        return self._evaluating and self.active()

    def before_evaluation_batch(self, state: Any) -> None:
        if not self._evaluation_observed:
            # Here, after all callbacks ran their on_test_begin, are the weights this pass is computed with.
            self.observe("test", None, state)
            self._evaluation_observed = True

    def evaluation_batch(self, data: Any) -> None:
        self.worker.put(
            EvaluationBatchItem(
                self._evaluation, self._taker.take(data), self._axes.get("validation_batch_axis", False)
            )
        )

    def end_evaluation(self, logs: Mapping[str, Any] | None) -> None:
        if not self._evaluating:
            return
        self._evaluating = False
        self._metrics_trusted = False
        self.worker.put(EvaluationItem(self._evaluation, self.epoch, self.step, describe.plain_logs(logs or {})))

    # ── ends ──

    def end_epoch(self, logs: Mapping[str, Any] | None) -> None:
        """After all callbacks ran their on_epoch_end."""
        self.steps_end()
        live = self._settled()
        self.worker.put(
            EpochItem(
                epoch=self.epoch,
                first_version=self._epoch_first,
                last_version=self.step,
                logs=describe.plain_logs(logs or {}),
                learning_rate=describe.learning_rate(self.model, schedule=True),
                seconds=time.perf_counter() - self._epoch_started,
                snapshot=self.snapshot(live),
                slots=self._slots.copied([self.backend.view(value) for value in live.optimizer()]),
            )
        )
        if self.order.known_by_now:
            self.order.note(self.worker.put)
        self._between()

    def end_training(self) -> None:
        """After all callbacks ran their on_train_end: the weights the model holds after fit."""
        self.order.note(self.worker.put)
        if not self._readable():
            return
        live = self._settled()
        self.worker.put(TrainEndItem(self.snapshot(live), self._copies(live.optimizer())))

    def finish(self, status: str) -> None:
        """Seals the trace and lets go of the model, the batches and all buffers. Later calls wait for that."""
        if self.pid != os.getpid():
            self.finished = True
            return
        with self._ending:
            if isinstance(self.worker, Ended):
                return
            self.finished = True
            if status != "complete":
                self._hand_on_rest()
            self._last.hand_on()
            self._ended_by = threading.get_ident()
            self.worker.finish(status)
            self.worker = Ended(self.worker.failure)
            self._release()

    @property
    def sealed(self) -> bool:
        """Whether this process has nothing to write any more."""
        return isinstance(self.worker, Ended) or self.pid != os.getpid()

    def _release(self) -> None:
        if self._first is not None:
            self._first.end()
        self.model = self.variables = self._first = self._at_source = None
        self._pool, self._slots = SnapshotPool(), SnapshotPool()
        self._taken, self.order = [], RowOrder()
        self._metrics = self._generator = None
        self.level_changed = lambda level: None  # the one of the fit holds its model

    def ended_elsewhere(self) -> bool:
        """Whether another thread ended this recording, in the middle of whatever this one does."""
        return self._ended_by not in (None, threading.get_ident())

    def fail(self, error: BaseException) -> None:
        """An error in the tracer itself: tracing stops here, the reason goes into the trace, training goes on."""
        if self.failed is None:
            self.failed = f"{type(error).__name__}: {error}"
            self.worker.put(EventItem("tracer-error", describe_error(error), self.epoch or None, self.step))
            self.finish("failed")

    def abandon(self) -> None:
        """Something of the user's was raised in the middle of recording, so what comes after would not fit what came
        before. It is on its way out of the fit: the trace is sealed without waiting for it."""
        if self.failed is None:
            self.failed = "interrupted"
        if self.pid == os.getpid():
            self.worker.end("failed")
        self.take_out()
