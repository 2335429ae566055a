"""Looks at a model's state outside its steps, and says what changed and by whom. Runs on the training thread.

Copies are the only work done here. Changes nothing it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from diagnose.frameworks.keras.model_state import variables_exist
from diagnose.frameworks.keras.optimizers import optimizers_of
from diagnose.frameworks.keras.optimizers import rate as rate_of
from diagnose.record import describe
from diagnose.record.backends.base import Backend, Live, Variables
from diagnose.record.choice import Choice
from diagnose.record.handlers import let_through
from diagnose.record.items import EventItem, InfoItem, Snapshot, SnapshotPool, StateItem
from diagnose.record.light import DIGESTS, LastStep, metric_state
from diagnose.record.packs import Look, MetricState, raw
from diagnose.record.worker import Ended, Worker
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, Json, NDArray

BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end")


class Observer:
    """What was seen last of a model, and what it is now.

    Args:
        level, policy: what is recorded, see `light`, and how the trace says it.
    """

    def __init__(self, model: Any, backend: Backend, worker: Worker, level: int, policy: Mapping[str, Json]) -> None:
        self.model = model
        self.backend = backend
        self.worker: Worker | Ended = worker
        self.level = level
        self.level_changed: Callable[[int], None] = lambda level: None
        """Told of another level, between two steps."""
        self.choice: Choice | None = None
        """What chooses the level, where it was not asked for."""
        self._policy = policy
        self.architecture: Json = None
        self.epoch = 0
        self.step = 0
        self.variables: Variables | None = None
        self._described: list[int] | None = None
        self._metric_variables: Variables | None = None
        self._last = LastStep(lambda item: self.worker.put(item))
        self._pool = SnapshotPool()
        self._observed: tuple[Digest, ...] | None = None
        self._metrics: MetricState = None
        self._sizes: tuple[int, int] | None = None
        """Bytes of the variables and of the metrics', where steps are looked at in one piece."""
        self._stop_seen = False
        self._optimizer: tuple[Digest, ...] | None = None
        self._rate_seen: float | None = None

    def _readable(self) -> bool:
        """Whether the model's variables exist: from the first step on at the latest."""
        return self.step > 0 or variables_exist(self.model)

    def _live(self, state: Any = None) -> Live:
        if self.variables is None:
            self.variables = Variables.of(self.model)
            self._metric_variables = replace(self.variables, all=(), prepared={})
            self._describe([id(v) for v in self.variables.all])
        return self.backend.live(self.model, self.variables, state)

    def _describe(self, variables: list[int]) -> None:
        """Once, and again where the model has others (by id): that of an optimizer or a metric is not told here."""
        if variables != self._described:
            self._described = variables
            assert self.variables is not None
            copies = self.backend.copies(self.variables)
            self.worker.put(InfoItem("variables", describe.variables(self.model, copies)))
            described = describe.model(self.model)
            self.worker.put(InfoItem("model", described))
            self.architecture = described.get("architecture")

    def _settled(self, state: Any = None) -> Live:
        """The variables' contents; if the last step was not looked at yet, these are what it made."""
        live = self._live(state)
        if self._last.waits:
            self._last.seen(self.snapshot(live), metric_state(self.backend, live))
        return live

    def _look(self, state: Any, *, whole: bool) -> Look | None:
        """What a step left, of all variables or of the metrics' alone, for the background thread to read; None where it
        cannot be taken so."""
        variables = self.variables if whole else self._metric_variables
        if self._sizes is None or variables is None:
            return None
        try:
            pack = self.backend.pack(self.model, variables, state)
        except Exception as error:
            let_through(error)
            pack = None
        if pack is None:
            self._sizes = None  # nor will it the next time
            return None
        nbytes, metrics = self._sizes
        return Look(pack, len(variables.all), (nbytes if whole else 0, metrics))

    def _metrics_live(self, state: Any) -> Live:
        """The metrics' variables alone."""
        assert self._metric_variables is not None
        only = None if state is None else (None, None, (), state[-1])
        return self.backend.live(self.model, self._metric_variables, only)

    def look_at_every_step(self, because: str = "batch-hooks") -> None:
        """Others than Keras's own code may change the weights between two steps of this fit, or its steps cannot be
        made again (`tracefile.about.Policy`)."""
        if self.choice is not None:
            self.choice.at_least(DIGESTS, because)
            self.worker.put(InfoItem("policy", {**self._policy, **self.choice.policy}))
        elif self.level < DIGESTS:
            self.change_level(DIGESTS)
            self.worker.put(InfoItem("policy", {**self._policy, "level": DIGESTS}))

    def change_level(self, level: int) -> None:
        """Records steps at another level from the next one on."""
        self.level = level
        self.level_changed(level)

    def _forget_variables_if_others(self) -> None:
        if self.variables is not None and not self.variables.same(Variables.of(self.model)):
            self.variables = None

    def snapshot(self, live: Live) -> Snapshot:
        """Copies of the variables' values, in reused buffers."""
        if live.owned:
            return Snapshot(list(live.variables))
        buffers = self._pool.take()
        if buffers is None:
            return Snapshot([np.array(self.backend.view(v)) for v in live.variables], self._pool)
        for buffer, value in zip(buffers, live.variables, strict=True):
            np.copyto(buffer, self.backend.view(value))
        return Snapshot(buffers, self._pool)

    def _copies(self, values: Any) -> list[NDArray]:
        return [np.array(self.backend.view(value)) for value in values]

    def observe(self, hook: str, callback: str | None, state: Any = None) -> None:
        """Looks whether the weights, the learning rate, the stop flag or, between two steps, the metrics' variables
        changed since the last look, and says by whom."""
        if not self._readable():
            return
        live = self._settled(state)
        digests = tuple(array_digest(self.backend.view(value)) for value in live.variables)
        if digests != self._observed:
            self.worker.put(StateItem(hook, callback, self.epoch or None, self.step, self.snapshot(live)))
            self._observed = digests
        self.observe_stop(hook, callback)
        if hook in BATCH_HOOKS:
            self._observe_metrics(hook, callback, live)
        rate = describe.learning_rate(self.model)
        if rate is None:  # a schedule, or on JAX variables that are out in the step's state
            return
        if callback is not None and rate != self._rate_seen and self._rate_seen is not None:
            detail = {"callback": callback, "hook": hook, "before": self._rate_seen, "after": rate}
            self.event("learning-rate", detail)
        self._rate_seen = rate

    def observe_between(self, hook: str, callback: str | None) -> None:
        """The same between two steps. In a light recording, only callbacks of Keras's own have hooks there, which
        change no weights."""
        if self.level >= DIGESTS:
            self.observe(hook, callback)
        else:
            self.observe_stop(hook, callback)

    def observe_stop(self, hook: str, callback: str | None) -> None:
        """Looks whether somebody asked for the fit to end."""
        stop = bool(getattr(self.model, "stop_training", False))
        if stop and not self._stop_seen:
            self.event("stop-requested", {"callback": callback, "hook": hook})
        self._stop_seen = stop

    def observe_optimizer(self, hook: str, callback: str | None) -> None:
        """Looks whether a callback changed the optimizers' state, but for learning rates. `callback` is None for the
        look before it."""
        if not self._readable() or self.model.optimizer is None:
            return
        live = self._live()
        rates = {id(rate_of(optimizer)) for optimizer in optimizers_of(self.model)}
        assert self.variables is not None
        pairs = zip(self.variables.optimizer, live.optimizer(), strict=True)
        digests = tuple(array_digest(self.backend.view(value)) for v, value in pairs if id(v) not in rates)
        if callback is not None and self._optimizer is not None and digests != self._optimizer:
            self.event("optimizer-changed", {"callback": callback, "hook": hook})
        self._optimizer = digests

    def _observe_metrics(self, hook: str, callback: str | None, live: Live) -> None:
        known = raw(self._metrics)
        now = None if known is None else metric_state(self.backend, live)
        if now is not None and now != known:
            self.event("metrics-reset", {"callback": callback, "hook": hook})
            self._metrics = now

    def event(self, kind: str, detail: Mapping[str, Json]) -> None:
        self.worker.put(EventItem(kind, detail, self.epoch or None, self.step))
