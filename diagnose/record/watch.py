"""Records loops of `train_on_batch`, which have no callbacks. Changes nothing in them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from diagnose.errors import DiagnoseError
from diagnose.record import describe, describe_metrics
from diagnose.record.attach import note, note_end
from diagnose.record.budget import Budget
from diagnose.record.guard import guarded, stop
from diagnose.record.handlers import from_handler, let_through
from diagnose.record.items import InfoItem
from diagnose.record.least import Asked, Rows, Weights
from diagnose.record.names import Names
from diagnose.record.recorder import Recorder
from diagnose.record.run import Run
from diagnose.record.wiring import TrainHook, open_run, unwrap
from diagnose.record.writable import check_writable
from diagnose.tracefile.about import MetricVariable, typed
from diagnose.tracefile.metric_state import Slot, added, layout, means

if TYPE_CHECKING:
    from diagnose.result.diagnosis import Diagnosis


class Watch:
    """Records every `model.train_on_batch(...)` as a step: the batch, the weights before and after, the metric state.

    An epoch is what lies between two calls of `end_epoch()`; steps left over when it is closed are one more. A loop
    that never calls it is one epoch. Weights that something else changes between two steps (a second model that shares
    layers, `set_weights`, a `fit`) are seen and kept.

    Not recorded: `test_on_batch` and `evaluate` (no validation values, so nothing on them is said), and custom loops
    that call neither `fit` nor `train_on_batch`. Early stopping in a loop is the user's own code, so there is no
    verdict on it.

    Args:
        model: compiled; may still be unbuilt.
        path: the trace file; without it, a temporary one that lasts as long as this object.
        weights, max_bytes, rows: as for `Tracer`. With `rows="digests"`, `diagnose` needs `data=`.
    """

    def __init__(
        self,
        model: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        weights: Weights = "auto",
        max_bytes: int = 1 << 30,
        rows: Rows = "keep",
    ) -> None:
        asked = Asked(weights, rows)
        if not getattr(model, "compiled", False):
            raise DiagnoseError("diagnose.watch takes a compiled Keras model; call compile() first.")
        other = model.__dict__.get("train_on_batch")
        if getattr(other, "__diagnose__", None) is not None:
            raise DiagnoseError("This model is being watched already; close() that watch first.")
        if path is not None:
            check_writable(Path(path))
        self._names = Names(None if path is None else Path(path))
        self.path = self._names.path
        self.model = model
        self.run = open_run(self.path, model, 1, self, asked, Budget(nbytes=max_bytes))
        self.recorder = self.run.recorder
        self._epoch = 0
        self._wrapped: tuple[Any, Any] | None = None
        self._sums: dict[str, list[float]] = {}
        self._layout: list[Slot] | None = None
        self._take_out: Callable[[], None] = lambda: None
        self.recorder.take_out = lambda: self._take_out()
        try:
            self._begin()
        except BaseException as error:
            if not isinstance(error, Exception) or from_handler(error) is not None:
                self.recorder.abandon()
                self.close("failed")
                let_through(error)
                raise
            stop(self.recorder, error)
        note(self, self.run)

    def _begin(self) -> None:
        recorder = self.recorder
        put = recorder.worker.put
        put(InfoItem("environment", describe.environment()))
        put(InfoItem("framework", "keras"))
        put(InfoItem("backend", recorder.backend.name))
        put(InfoItem("fit", {"number": 1, "arguments": {}, "found": False, "loop": "train_on_batch"}))
        put(InfoItem("compile", describe.compile_settings(recorder.model)))
        put(InfoItem("callbacks", []))
        recorder.batch_hooks_present = True  # metric state is read anew before every step: train_on_batch resets it
        recorder.observe("watch", None)
        self._patch()

    # ── the loop ──

    def _patch(self) -> None:
        """Sets `train_on_batch` and `make_train_function` on the instance. The first says that a step of the loop
        comes, the second is where the model has its train function, just before it is called."""
        model = self.model
        train_on_batch, make = model.train_on_batch, model.make_train_function
        inside: list[Any] = []

        def traced(*args: Any, **kwargs: Any) -> Any:
            recorder = self.recorder
            if not recorder.active():
                return train_on_batch(*args, **kwargs)
            inside.append(None)
            try:
                return train_on_batch(*args, **kwargs)
            finally:
                replaced = inside.pop()
                recorder.take_armed()
                if replaced is not None:
                    model.train_function = replaced

        def make_and_wrap(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            if inside and inside[-1] is None:
                inside[-1] = model.train_function
                self._wrap()
            return made

        traced.__diagnose__ = self  # type: ignore[attr-defined]
        for name, function in (("train_on_batch", traced), ("make_train_function", make_and_wrap)):
            model.__dict__[name] = function

        def take_out() -> None:
            for name, function in (("train_on_batch", traced), ("make_train_function", make_and_wrap)):
                if model.__dict__.get(name) is function:
                    del model.__dict__[name]

        self._take_out = take_out

    @guarded
    def _wrap(self) -> None:
        """For the one call that comes. The wrapper of a tracer whose fit this loop runs in is passed by."""
        model, recorder = self.model, self.recorder
        unwrap(model, "train_function")
        original = model.train_function
        if self._wrapped is None or self._wrapped[0] is not original:
            self._wrapped = (original, recorder.backend.wrap_train(model, original, _LoopHook(self, recorder)))
        model.train_function = self._wrapped[1]
        if recorder.epoch == self._epoch:
            self._begin_epoch()
        recorder.arm()

    def _begin_epoch(self) -> None:
        self._sums = {}
        self.recorder.begin_epoch(self._epoch + 1)

    def end_epoch(self, logs: Mapping[str, Any] | None = None) -> None:
        """Ends an epoch: what follows belongs to the next.

        Args:
            logs: the values your loop reports for this epoch, by metric name. Without them, what `fit` would have
                logged: the mean over the epoch of every metric that is a mean. Values that are something else than the
                pooled metric over the epoch's batches (the last batch's alone, …) are taken as they are, and replay
                will differ.
        """
        self._end_epoch(logs)

    @guarded
    def _end_epoch(self, logs: Mapping[str, Any] | None) -> None:
        recorder = self.recorder
        if recorder.epoch == self._epoch:
            return  # no step since the last one ended
        self._epoch = recorder.epoch
        recorder.observe("end_epoch", None)
        recorder.end_epoch(self._means() if logs is None else logs)

    def _means(self) -> dict[str, float]:
        return {name: total / count if count else math.nan for name, (total, count) in self._sums.items()}

    def add_metrics(self, before: bytes | None, after: bytes | None) -> None:
        """Adds up a step's own totals and counts, for the default logs."""
        if self._layout is None:
            self._layout = layout(
                typed(describe_metrics.metric_variables(self.model), list[MetricVariable], "of this model")
            )
        known = before if before is not None and after is not None and len(before) == len(after) else None
        for name, values in ({} if after is None else means(added(self._layout, known, after))).items():
            sums = self._sums.setdefault(name, [0.0, 0.0])
            sums[0] += values[0]
            sums[1] += values[1]

    # ── afterwards ──

    def close(self, status: Literal["complete", "failed"] = "complete") -> None:
        """Ends the recording, and the epoch that is open. `train_on_batch` is as before. Later calls do nothing."""
        self._take_out()
        if not self.recorder.finished:
            if status == "complete":
                self.end_epoch()
            self._end()
        self._held = self.run.end()
        self.recorder.finish(status)
        if self.recorder.failed is None and self.recorder.worker.failure is not None:
            stop(self.recorder, self.recorder.worker.failure)
        note_end(self)

    @property
    def recording(self) -> bool:
        """Whether it is still open."""
        return not self.recorder.sealed

    @guarded
    def _end(self) -> None:
        self.recorder.end_training()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close("complete" if kind is None else "failed")

    @property
    def runs(self) -> list[Run]:
        """The recorded loop, in the form in which tracers have their fits."""
        return [self.run]

    def diagnose(self, evaluate: Any = None, *, data: Any = None) -> Diagnosis:
        """Closes the recording and analyses it. `evaluate`, `data`: see `Tracer.diagnose`."""
        from diagnose.analysis.analyze import diagnose_run

        self.close()
        return diagnose_run(self.run, evaluate=evaluate, data=data, name="loop")


def watch(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    weights: Weights = "auto",
    max_bytes: int = 1 << 30,
    rows: Rows = "keep",
) -> Watch:
    """Records the `train_on_batch` calls of a model, until `close()` or the end of a `with` block; see `Watch`."""
    return Watch(model, path, weights=weights, max_bytes=max_bytes, rows=rows)


class _LoopHook(TrainHook):
    """Between two calls of a loop anything may have changed the weights, so each step looks at them first."""

    def __init__(self, watched: Watch, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._watch = watched

    @guarded
    def before(self, data: Any, state: Any) -> None:
        self.recorder.observe("between steps", None, state)
        self.recorder.before_step(data, state)

    @guarded
    def after(self, state: Any) -> None:
        before = self.recorder.metric_state
        self.recorder.after_step(state)
        self._watch.add_metrics(before, self.recorder.metric_state)
