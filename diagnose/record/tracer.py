"""The callback users attach: wires recorder, probes and wrapped step functions into one fit, and takes them out
again."""

from __future__ import annotations

import atexit
import contextlib
import copy
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from diagnose.errors import DiagnoseError
from diagnose.frameworks.keras import fits
from diagnose.record import describe
from diagnose.record.afterwards import Afterwards
from diagnose.record.backends import Backend, current_backend
from diagnose.record.budget import Budget, SharedBytes
from diagnose.record.callback_state import at_start
from diagnose.record.calls import hold, let_go
from diagnose.record.guard import guarded, not_traced, stop
from diagnose.record.handlers import from_handler, let_through
from diagnose.record.held import Kept
from diagnose.record.items import EventItem, InfoItem
from diagnose.record.kept_weights import kept_weights
from diagnose.record.least import OVERHEAD, Asked, Level, Rows, Weights
from diagnose.record.live import LiveData
from diagnose.record.names import Names
from diagnose.record.order import RowOrder
from diagnose.record.planning import plan_levels
from diagnose.record.probing import set_probes
from diagnose.record.recorder import Recorder
from diagnose.record.run import Run, not_held
from diagnose.record.wiring import (
    TestHook,
    TrainHook,
    is_running,
    open_run,
    recorded_with,
    recording,
    set_wrapped,
    source_of,
    unwrap,
)
from diagnose.record.writable import check_writable

_LIVE: weakref.WeakSet[Tracer] = weakref.WeakSet()
_LIVE_STATE = frozenset(
    {
        "params", "path", "runs", "silent", "recorder", "_model", "_run", "_take_out", "_wrap_test", "_callbacks",
        "_kept", "_stands_for", "_fit", "_claim",
    }
)  # fmt: skip
"""What a copy of a tracer has anew."""


class Tracer(Afterwards, keras.callbacks.Callback):  # type: ignore[misc]
    """Records a fit so that it can be diagnosed. Changes nothing in it.

    A fit is recorded once: of several tracers in its list, the first writes its file, and the others have the same run
    (`tracer.runs[-1].path`). In a forked child, a tracer of the parent's writes "NAME-pidN.diag".

    A tracer can be copied, deep-copied and pickled, used or not: the copy has traced nothing yet. Fits that run at the
    same time with one tracer are recorded each. Of the models, a tracer keeps the last alone from being collected;
    earlier fits are diagnosed with theirs where they are still there, else with one built from the stored architecture
    of a model of Keras's own layers, else without replay.

    Args:
        path: the trace file to write (".diag" is usual), from the working folder of now. A second fit with the same
            tracer, or a fit with a copy of it, writes "NAME-2.diag" beside it, and so on; a trace that is there already
            is replaced, and whoever recorded that says so when asked for its diagnosis. Without a path, traces live in
            a temporary folder as long as the tracer.
        weights: "auto" keeps the weights of every update while the model has up to a million parameters and the trace
            is below half of `max_bytes`, and the ends of epochs beyond that; "epochs" keeps the ends of epochs only:
            that is `level=2`.
        level: how much is recorded while the fit runs. 3: the weights of every update. 2: a digest of each, and the
            weights at the ends of epochs. 1: the metrics' state after each step, and the weights at the ends of epochs.
            0: of a step only what went into it. What was not kept is made again by `diagnose`, which trains an
            epoch once more from its start; it counts only if the epoch ends in the recorded weights, bit for bit. Where
            callbacks other than Keras's have batch hooks, and on several replicas, 2 is the least. "auto" begins as
            `weights` says, and goes down where recording the steps takes more than `overhead`: see `record.chooser`.
            Where steps may not come out the same when they are made again, it stays at 2 or 3.
        overhead: the share of the fit's own time that recording its steps may take, for level "auto": processor time of
            ours on both threads against the time that passes, or the fit's processor time where that is less.
        rows: "keep" keeps the training rows in the trace; "digests" keeps none of them, nor sample weights or batches
            in one piece, only their digests. `diagnose` then takes the rows from the arrays that `fit` was given,
            while the process has them, or from `data=`.
        max_bytes: what the trace and its journal take on disk at most, at least 1 MiB. As it fills up, these are left
            out, in this order, and the trace says so: weights of single updates (from a half on), rows not seen before
            (their digests are kept), weights that callbacks changed inside epochs, steps, weights at the ends of
            epochs. Logs and digests of the ends of epochs go on; when these no longer fit, recording stops with one
            warning.
        shared: such a limit for several tracers together, beside `max_bytes`.

    Raises:
        UsageError: `max_bytes` is less than 1 MiB.
        TraceWriteError: the trace file cannot be created (raised here, before training starts, never inside `fit`).
    """

    async_safe = True  # has no batch hooks that Keras would have to wait for

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        weights: Weights = "auto",
        level: Level = "auto",
        overhead: float = OVERHEAD,
        max_bytes: int = 1 << 30,
        rows: Rows = "keep",
        shared: SharedBytes | None = None,
    ) -> None:
        super().__init__()
        self._asked = Asked(weights, rows, level, overhead)
        if path is not None:
            check_writable(Path(path))
        self._names = Names(None if path is None else Path(path))
        self._original = True
        self.holds_arrays = False
        """Whether the arrays a fit was given are kept alive for the analysis, where the trace has digests only."""
        self._budget = Budget(nbytes=max_bytes, shared=shared)
        self._start_afresh()

    def _start_afresh(self) -> None:
        """All that is of this object alone, and of this process."""
        self._model: Any = None
        self.path = self._names.path
        """Where it writes; once it has recorded a fit, the file of its first."""
        self.runs: list[Run] = []
        self.silent = False
        """True once a fit was trained on several workers and another of them, the chief, records it."""
        self.recorder: Recorder | None = None
        self._run: Run | None = None
        """The fit that this tracer is recording."""
        self._take_out: Callable[[], None] | None = None
        self._wrap_test: Callable[[], None] | None = None
        self._callbacks: list[Any] = []
        self._kept = Kept(fits=1)
        self._stands_for: Tracer = self
        """The tracer that is in the user's list: another than this one for one of several fits at the same time."""
        self._fit: Callable[[], Any] = lambda: None
        """The callbacks of the fit that this tracer was called for last, if they are still there."""
        self._claim = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _LIVE_STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__.update(state)
        self._original = False
        self._start_afresh()

    def set_model(self, model: Any) -> None:
        """Holds the model without Keras's property: on JAX, `Callback.model` forces a state sync."""
        self._model = model

    # ── the fit ──

    def on_train_begin(self, logs: Any = None) -> None:
        frame = sys._getframe(1)
        try:
            callback_list = fits.callback_list_in(frame)
            # Not what `set_model` was called with last: that may have been for a fit in another thread.
            model = fits.model_of(callback_list)
            self._for(callback_list)._begin(frame, callback_list, self._model if model is None else model)
        finally:
            del frame

    def _for(self, callback_list: Any) -> Tracer:
        """This tracer, or a copy of it where it is recording another fit that runs at the same time."""
        with self._claim:
            other = self._fit()
            if other is not None and other is not callback_list and fits.fit_runs(other):
                second = copy.copy(self)
                second._stands_for, second._kept = self, self._kept
                return second
            self._fit = (lambda: None) if callback_list is None else weakref.ref(callback_list)
        return self

    def _begin(self, frame: Any, callback_list: Any, model: Any) -> None:
        try:
            self._set_up(frame, callback_list, model)
        except BaseException as error:
            self._take_out_now()
            if not isinstance(error, Exception) or from_handler(error) is not None:
                if self.recorder is not None:
                    self.recorder.abandon()
                let_through(error)
                raise
            if self.recorder is not None:
                stop(self.recorder, error)
            else:
                not_traced(error)

    @guarded
    def on_test_begin(self, logs: Any = None) -> None:
        assert self.recorder is not None and self._wrap_test is not None
        self._wrap_test()
        self.recorder.begin_evaluation()

    def _set_up(self, frame: Any, callback_list: Any, model: Any) -> None:
        present = recorded_with(callback_list) or recording(model)
        if present is not None and present.callback_list is not None:
            same = present.callback_list is callback_list
            if same and present.recorder.epoch == 0:
                self._share(present)
                return
            if not same and is_running(present):
                # A fit inside a traced fit of the same model.
                self.recorder = self.recorder if present.owner is self else None
                return
            present.owner.close()  # left behind by a fit that raised
        self._close_own()
        self.recorder = None
        spread = current_backend().distribution(model)
        if spread is not None and not spread.records:
            self._stands_for.silent = True
            return
        unwrap(model, "train_function")
        unwrap(model, "test_function")
        number = len(self._stands_for.runs) + 1
        path = self._names.next(plain=self._original)
        run = open_run(path, model, number, self, self._asked, self._budget, callback_list)
        self._run, recorder = run, run.recorder
        self.recorder = recorder
        recorder.take_out = self._take_out_now
        hold(run, keras.Model)
        if not self._stands_for.runs:
            self._stands_for.path = run.path
        for tracer in {self, self._stands_for}:
            tracer.runs.append(run)
            _LIVE.add(tracer)
        run.when_left(_left)
        if callback_list is None:
            raise DiagnoseError("on_train_begin was not called by a keras CallbackList; pass the tracer to fit itself.")
        arguments = fits.locals_of_fit(frame)
        if self._asked.rows == "digests":
            run.live = LiveData(arguments, hold=self.holds_arrays)
        recorder.order = RowOrder.of(arguments)
        run.given = not_held(arguments.get("x"))
        self._describe(recorder, recorder.backend, callback_list, arguments, number)
        instead = (self._stands_for, self)
        restore_list = set_probes(recorder, callback_list, instead, self._callbacks, self._at_start, self._end)
        iterator = fits.iterator_of_fit(arguments)
        plan_levels(recorder, arguments, iterator)
        self._wrap(run, restore_list, iterator)
        recorder.observe("on_train_begin", None)

    def _share(self, run: Run) -> None:
        """Another tracer, or this one under an earlier place in the list, records this fit already."""
        if run.owner._stands_for is not self._stands_for and run not in self._stands_for.runs:
            self._close_own()
            self.recorder = None
            self._stands_for.runs.append(run)
            self._kept.add(run.held)

    def _describe(self, recorder: Recorder, backend: Backend, callback_list: Any, arguments: Any, number: int) -> None:
        put = recorder.worker.put
        put(InfoItem("environment", describe.environment()))
        put(InfoItem("framework", "keras"))
        put(InfoItem("backend", backend.name))
        put(
            InfoItem(
                "fit", {"number": number, "arguments": describe.fit_arguments(arguments), "found": bool(arguments)}
            )
        )
        put(InfoItem("compile", describe.compile_settings(recorder.model)))
        callbacks = callback_list.callbacks
        self._callbacks = [cb for cb in callbacks if cb is not self._stands_for]
        put(InfoItem("callbacks", [describe.callback(cb) for cb in self._callbacks]))

    def _at_start(self) -> None:
        """Before the first epoch, after all callbacks ran their on_train_begin."""
        assert self.recorder is not None
        self.recorder.worker.put(InfoItem("callbacks_at_start", at_start(self._callbacks)))

    def _wrap(self, run: Run, restore_list: Callable[[], None], epoch_iterator: Any) -> None:
        model, recorder, backend = run.model, run.recorder, run.recorder.backend
        source = None if epoch_iterator is None else source_of(recorder, epoch_iterator)

        def wrap_train(level: int) -> None:
            """Unless it is there: where a source told what steps took, it was taken out."""
            if getattr(model.train_function, "__diagnose__", None) is not run:
                set_wrapped(model, "train_function", backend.wrap_train, TrainHook(recorder, source), run)

        wrap_train(recorder.level)
        recorder.level_changed = wrap_train
        tapped: list[Any] = []

        def wrap_test() -> None:
            epoch_iterator = fits.iterator_of_evaluate()
            known = bool(tapped) and tapped[0] is epoch_iterator  # Keras keeps it for the next pass
            if not known and epoch_iterator is not None:
                tapped[:] = epoch_iterator, backend.tap(epoch_iterator, recorder.evaluation_active)
            if not known or getattr(model.test_function, "__diagnose__", None) is not run:
                unwrap(model, "test_function")
                hook = TestHook(recorder, tapped[1] if tapped else None)
                set_wrapped(model, "test_function", backend.wrap_test, hook, run)

        def take_out() -> None:
            unwrap(model, "train_function")
            unwrap(model, "test_function")
            restore_list()

        self._wrap_test = wrap_test
        self._take_out = take_out

    def _end(self) -> None:
        """After all callbacks ran their on_train_end."""
        recorder = self.recorder
        assert recorder is not None
        recorder.end_training()
        final = [describe.callback(cb) for cb in self._callbacks]
        recorder.worker.put(EventItem("callbacks-final", {"callbacks": final}))
        for kept in kept_weights(self._callbacks, recorder.model):
            recorder.event("weights-kept", kept)
        self._take_out_now()
        recorder.finish("complete")

    def _take_out_now(self) -> None:
        take_out, self._take_out, self._wrap_test = self._take_out, None, None
        if take_out is not None:
            take_out()
        self._model, self._callbacks = None, []
        run, self._run = self._run, None
        if run is not None:
            let_go(run, keras.Model)
            self._kept.add(run.end())

    # ── afterwards ──

    @property
    def recording(self) -> bool:
        """Whether a fit that this tracer began to record has not been closed yet."""
        return any(not run.recorder.sealed for run in self.runs)

    def let_go(self) -> None:
        """Keeps no model any more: whoever attached this tracer keeps them."""
        self._kept.clear()

    def close(self) -> None:
        """Ends recordings whose fits never reached their end (they raised, or were interrupted). Does nothing
        otherwise."""
        self._close_own()
        for run in self.runs:
            if run.owner is not self and run.owner._stands_for is self:
                run.owner.close()

    def close_left(self) -> None:
        """As `close`, but for fits that still run in other threads."""
        for run in self.runs:
            if run.owner._stands_for is self and not run.recorder.sealed and not is_running(run):
                run.owner._close_own()

    def _close_own(self) -> None:
        self._take_out_now()
        if self.recorder is not None:
            self.recorder.finish("failed")


def _left(run: Run) -> None:
    """A fit raised, and its exception has been dealt with. Called by the garbage collector, wherever that runs: the
    trace is sealed in a thread of its own."""
    if run.owner._run is run:
        run.owner._take_out_now()
    with contextlib.suppress(RuntimeError):  # the process is ending; the trace is closed by `_close_all`
        threading.Thread(target=run.recorder.finish, args=("failed",), name="diagnose-closer").start()


@atexit.register
def _close_all() -> None:
    """A fit that raised never reached its end: its trace is sealed here at the latest."""
    for tracer in list(_LIVE):
        tracer.close()
