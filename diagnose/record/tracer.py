"""The callback users attach: wires recorder, probes and wrapped step functions into one fit, and takes them out
again."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras

from diagnose.errors import DiagnoseError, TraceWriteError
from diagnose.record import describe
from diagnose.record.backends import Backend, current_backend
from diagnose.record.budget import Budget, SharedBytes
from diagnose.record.callback_state import SavedFile, at_start, saved_file
from diagnose.record.guard import guarded, stop
from diagnose.record.items import EventItem, InfoItem
from diagnose.record.live import LiveData, check_rows
from diagnose.record.probe import BatchBeginProbe, BatchProbe, FirstProbe, LastProbe, Probe
from diagnose.record.recorder import Recorder
from diagnose.record.wiring import (
    Run,
    TestHook,
    TrainHook,
    compiled_parts,
    is_running,
    local_of_caller,
    of_this_process,
    open_run,
    recording,
    set_wrapped,
    unwrap,
)
from diagnose.trace.create import refuse_link

if TYPE_CHECKING:
    from diagnose.chosen import Wanted
    from diagnose.diagnosis import Diagnosis

_UNPROBED = (keras.callbacks.History, keras.callbacks.ProgbarLogger)
_LIVE: weakref.WeakSet[Tracer] = weakref.WeakSet()


class Tracer(keras.callbacks.Callback):  # type: ignore[misc]
    """Records a fit so that it can be diagnosed. Changes nothing in it.

    A fit is recorded once: of several tracers in its list, the first writes its file, and the others have the same run
    (`tracer.runs[-1].path`). In a forked child, a tracer of the parent's writes "NAME-pidN.diag".

    Args:
        path: the trace file to write (".diag" is usual). A second fit with the same tracer writes "NAME-2.diag"
        beside it, and so on; a
            trace that is there already is replaced. Without a path, traces live in a temporary folder until the
            process ends.
        weights: "auto" keeps the weights of every update while the model has up to a million parameters and the trace
            is below half of `max_bytes`, and the ends of epochs beyond that; "epochs" keeps the ends of epochs only.
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
        weights: Literal["auto", "epochs"] = "auto",
        max_bytes: int = 1 << 30,
        rows: Literal["keep", "digests"] = "keep",
        shared: SharedBytes | None = None,
    ) -> None:
        super().__init__()
        if weights not in ("auto", "epochs"):
            raise DiagnoseError(f"weights must be 'auto' or 'epochs', not {weights!r}.")
        check_rows(rows)
        if path is None:
            # Not a TemporaryDirectory, which warns the user's process when a tracer is simply dropped.
            folder = tempfile.mkdtemp(prefix="diagnose-")
            weakref.finalize(self, _remove, folder, os.getpid())
            path = Path(folder) / "fit.diag"
        self.path = Path(path)
        self._pid = os.getpid()
        self.runs: list[Run] = []
        self.silent = False
        """True once a fit was trained on several workers and another of them, the chief, records it."""
        self.recorder: Recorder | None = None
        self._weights = weights
        self._rows = rows
        self.holds_arrays = False
        """Whether the arrays a fit was given are kept alive for the analysis, where the trace has digests only."""
        self._budget = Budget(nbytes=max_bytes, shared=shared)
        self._take_out: Callable[[], None] | None = None
        check_writable(self.path)

    def set_model(self, model: Any) -> None:
        """Holds the model without Keras's property: on JAX, `Callback.model` forces a state sync."""
        self._model = model

    # ── the fit ──

    def on_train_begin(self, logs: Any = None) -> None:
        frame = sys._getframe(1)
        try:
            self._begin(frame)
        except Exception as error:
            self._take_out_now()
            if self.recorder is not None:
                stop(self.recorder, error)
            else:
                _warn_not_started(error)
        finally:
            del frame

    @guarded
    def on_test_begin(self, logs: Any = None) -> None:
        assert self.recorder is not None and self._wrap_test is not None
        self._wrap_test()
        self.recorder.begin_evaluation()

    _wrap_test: Callable[[], None] | None = None

    def _begin(self, frame: Any) -> None:
        callback_list = frame.f_locals.get("self")
        if not isinstance(callback_list, keras.callbacks.CallbackList):
            callback_list = None
        present = recording(self._model)
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
        self.close()
        model = self._model
        spread = current_backend().distribution(model)
        if spread is not None and not spread.records:
            self.recorder = None
            self.silent = True
            return
        unwrap(model, "train_function")
        unwrap(model, "test_function")
        number = len(self.runs) + 1
        path = self.path if number == 1 else self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
        path = of_this_process(path, self._pid)
        run = open_run(path, model, number, self, self._weights, self._budget, callback_list, self._rows)
        recorder = self.recorder = run.recorder
        self.runs.append(run)
        _LIVE.add(self)
        if callback_list is None:
            raise DiagnoseError("on_train_begin was not called by a keras CallbackList; pass the tracer to fit itself.")
        arguments = frame.f_back.f_locals if frame.f_back is not None else {}
        if self._rows == "digests":
            run.live = LiveData(arguments, hold=self.holds_arrays)
        self._describe(recorder, recorder.backend, callback_list, arguments, number)
        restore_list = self._set_probes(recorder, callback_list)
        self._wrap(run, restore_list, arguments.get("epoch_iterator"))
        recorder.observe("on_train_begin", None)

    def _share(self, run: Run) -> None:
        """Another tracer, or this one under an earlier place in the list, records this fit already."""
        if run.owner is not self and run not in self.runs:
            self.close()
            self.recorder = None
            self.runs.append(run)

    def _describe(self, recorder: Recorder, backend: Backend, callback_list: Any, arguments: Any, number: int) -> None:
        put = recorder.worker.put
        put(InfoItem("environment", describe.environment()))
        put(InfoItem("backend", backend.name))
        put(
            InfoItem(
                "fit", {"number": number, "arguments": describe.fit_arguments(arguments), "found": bool(arguments)}
            )
        )
        put(InfoItem("compile", describe.compile_settings(recorder.model)))
        callbacks = callback_list.callbacks
        put(InfoItem("callbacks", [describe.callback(cb) for cb in callbacks if cb is not self]))
        self._callbacks = [cb for cb in callbacks if cb is not self]

    def _set_probes(self, recorder: Recorder, callback_list: Any) -> Callable[[], None]:
        """Sets probes between the callbacks. The list in use is replaced, not changed: Keras is iterating over it
        right now."""
        original = callback_list.callbacks
        last: Probe = FirstProbe(recorder, self._at_start)
        probed: list[Any] = [last]
        asynchronous = getattr(callback_list, "_async_train", False)
        for cb in original:
            probed.append(cb)
            if cb is self or type(cb) in _UNPROBED:
                continue
            in_batches = {"on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"} & set(
                describe.callback(cb)["hooks"]
            )
            if in_batches:
                # Where Keras runs `on_train_batch_end` in a thread of its own, no callback of the user has one.
                recorder.batch_hooks_present = True
                kind = BatchBeginProbe if asynchronous else BatchProbe
            else:
                kind = Probe
            before, last = last, kind(recorder, type(cb).__name__, self._file_of(cb))
            if not type(cb).__module__.startswith("keras.") or isinstance(cb, keras.callbacks.LambdaCallback):
                before.at_optimizer, last.at_optimizer = bool(before.at_optimizer), True
            probed.append(last)
        probed.append(LastProbe(recorder, self._end))
        callback_list.callbacks = probed

        def restore() -> None:
            if callback_list.callbacks is probed:
                callback_list.callbacks = original

        return restore

    def _at_start(self) -> None:
        """Before the first epoch, after all callbacks ran their on_train_begin."""
        assert self.recorder is not None
        self.recorder.worker.put(InfoItem("callbacks_at_start", at_start(self._callbacks)))

    def _file_of(self, cb: Any) -> tuple[int, SavedFile] | None:
        file = saved_file(cb)
        return None if file is None else (next(i for i, c in enumerate(self._callbacks) if c is cb), file)

    def _wrap(self, run: Run, restore_list: Callable[[], None], epoch_iterator: Any) -> None:
        model, recorder, backend = run.model, run.recorder, run.recorder.backend
        source = None if epoch_iterator is None else backend.tap(epoch_iterator, recorder.active)
        set_wrapped(model, "train_function", backend.wrap_train, TrainHook(recorder, source), run)
        tapped: list[Any] = []

        def wrap_test() -> None:
            epoch_iterator = local_of_caller("evaluate", "epoch_iterator")
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
        self.runs[-1].compiled = compiled_parts(recorder.model)
        self._take_out_now()
        self._callbacks = []
        recorder.finish("complete")
        if recorder.worker.failure is not None:
            raise recorder.worker.failure

    def _take_out_now(self) -> None:
        take_out, self._take_out, self._wrap_test = self._take_out, None, None
        if self.runs and self.runs[-1].owner is self:
            self.runs[-1].callback_list = None
        if take_out is not None:
            take_out()

    # ── afterwards ──

    def close(self) -> None:
        """Ends a recording whose fit never reached its end (it raised, or was interrupted). Does nothing otherwise."""
        self._take_out_now()
        recorder = self.recorder
        if recorder is not None and not recorder.finished:
            if self.runs:
                self.runs[-1].compiled = compiled_parts(recorder.model)
            recorder.finish("failed")

    def diagnose(
        self, evaluate: Any = None, *, data: Any = None, fit: int | None = None, epochs: Wanted = None
    ) -> Diagnosis:
        """Analyses a traced fit.

        Args:
            evaluate: the data the question is about: (x, y), (x, y, sample_weight), or an iterable of such batches;
                arrays are evaluated in batches of 32, as Keras's `evaluate` does by default. Without it, the rows
                `fit` used.
            data: the training data, in the same forms. Needed only where the trace holds digests of rows in place of
                the rows, and the arrays that `fit` was given are gone; each row is taken by its digest, others are
                passed over.
            fit: which fit of this tracer, 1-based; the last by default.
            epochs: the epochs (1-based) that get a ledger, or "all". By default the last, the best by the monitor, the
                restored, and the one after each. Of a long fit, only these are replayed and evaluated again.

        Raises:
            DiagnoseError: nothing was traced, or there is no such fit or epoch.
        """
        from diagnose.analysis import diagnose_run

        self.close()
        if not self.runs and self.silent:
            raise DiagnoseError("This fit was trained on several workers: ask the tracer of the chief, which records.")
        if not self.runs:
            raise DiagnoseError("Nothing was traced yet: pass this tracer in fit's callbacks first.")
        if fit is not None and not 1 <= fit <= len(self.runs):
            raise DiagnoseError(f"There is no fit {fit}: this tracer recorded {len(self.runs)}.")
        run = self.runs[-1 if fit is None else fit - 1]
        run.owner.close()
        return diagnose_run(run, evaluate=evaluate, data=data, epochs=epochs)


def _remove(folder: str, made_in: int) -> None:
    """Not in a forked child: the folder is its parent's."""
    if os.getpid() == made_in:
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Raises TraceWriteError where no trace can be written at `path`."""
    if path.is_dir():
        raise TraceWriteError(f"{path} is a folder; name a file in it.")
    refuse_link(path)
    try:
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                if not file.read(16).startswith(b"SQLite format 3"):
                    raise TraceWriteError(f"{path} exists and is not a trace; choose another path.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise TraceWriteError(f"Cannot write a trace in {path.parent}: {error.strerror or error}.") from error


def _warn_not_started(error: Exception) -> None:
    import warnings

    from diagnose.record.guard import TracingStopped

    text = f"diagnose: this fit is not traced ({type(error).__name__}: {error})."
    try:
        warnings.warn(text, TracingStopped, stacklevel=4)
    except Warning:
        print(text, file=sys.stderr)


@atexit.register
def _close_all() -> None:
    """A fit that raised never reached its end: its trace is sealed here at the latest."""
    for tracer in list(_LIVE):
        tracer.close()
