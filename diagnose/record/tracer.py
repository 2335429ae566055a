"""The callback users attach: wires recorder, probes and wrapped step functions into one fit, and takes them out
again."""

from __future__ import annotations

import atexit
import math
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras

from diagnose.errors import DiagnoseError, TraceWriteError
from diagnose.record import describe
from diagnose.record.backends import Backend, current_backend
from diagnose.record.encoder import Budget, Encoder
from diagnose.record.guard import guarded, stop
from diagnose.record.items import EventItem, InfoItem
from diagnose.record.probe import BatchProbe, FirstProbe, LastProbe, Probe
from diagnose.record.recorder import Recorder
from diagnose.record.worker import Worker
from diagnose.trace.writer import TraceWriter

if TYPE_CHECKING:
    from diagnose.diagnosis import Diagnosis

_UNPROBED = (keras.callbacks.History, keras.callbacks.ProgbarLogger)
_LIVE: weakref.WeakSet[Tracer] = weakref.WeakSet()


@dataclass
class Run:
    """One traced fit: its trace file, and what analysis in this process needs of the model it trained."""

    path: Path
    model: Any
    number: int
    recorder: Recorder
    compiled: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


class Tracer(keras.callbacks.Callback):  # type: ignore[misc]
    """Records a fit so that it can be diagnosed. Changes nothing in it.

    Args:
        path: the trace file to write (".diag" is usual). A second fit with the same tracer writes "NAME-2.diag"
        beside it, and so on; a
            trace that is there already is replaced. Without a path, traces live in a temporary folder until the
            process ends.
        weights: "auto" keeps the weights of every update while the model has up to a million parameters and the trace
        is
            below `max_bytes`, and the ends of epochs beyond that; "epochs" keeps the ends of epochs only. Digests of
            every version are always kept.
        max_bytes: size of the trace beyond which only epoch ends (weights) and digests (rows not seen before) are
        added.

    Raises:
        TraceWriteError: the trace file cannot be created (raised here, before training starts, never inside `fit`).
    """

    async_safe = True  # has no batch hooks that Keras would have to wait for

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        weights: Literal["auto", "epochs"] = "auto",
        max_bytes: int = 1 << 30,
    ) -> None:
        super().__init__()
        if weights not in ("auto", "epochs"):
            raise DiagnoseError(f"weights must be 'auto' or 'epochs', not {weights!r}.")
        if path is None:
            # Not a TemporaryDirectory, which warns the user's process when a tracer is simply dropped.
            folder = tempfile.mkdtemp(prefix="diagnose-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder) / "fit.diag"
        self.path = Path(path)
        self.runs: list[Run] = []
        self.recorder: Recorder | None = None
        self._weights = weights
        self._budget = Budget(nbytes=max_bytes)
        self._take_out: Callable[[], None] | None = None
        _check_writable(self.path)

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
        self.close()
        model = self._model
        if (
            getattr(model.train_function, "__diagnose__", None) is not None
            and model.train_function.__diagnose__.active()
        ):
            self.recorder = None  # another tracer records this fit already
            return
        _unwrap(model, "train_function")
        _unwrap(model, "test_function")
        backend = current_backend()
        number = len(self.runs) + 1
        path = self.path if number == 1 else self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
        recorder = _start_recorder(path, model, backend, self._weights, self._budget)
        self.recorder = recorder
        self.runs.append(Run(path, model, number, recorder))
        _LIVE.add(self)
        callback_list = frame.f_locals.get("self")
        if not isinstance(callback_list, keras.callbacks.CallbackList):
            raise DiagnoseError("on_train_begin was not called by a keras CallbackList; pass the tracer to fit itself.")
        arguments = frame.f_back.f_locals if frame.f_back is not None else {}
        self._describe(recorder, backend, callback_list, arguments, number)
        restore_list = self._set_probes(recorder, callback_list)
        self._wrap(recorder, backend, restore_list)
        recorder.observe("on_train_begin", None)

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
        probed: list[Any] = [FirstProbe(recorder, None)]
        asynchronous = getattr(callback_list, "_async_train", False)
        for cb in original:
            probed.append(cb)
            if cb is self or type(cb) in _UNPROBED:
                continue
            in_batches = {"on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"} & set(
                describe.callback(cb)["hooks"]
            )
            if in_batches and not asynchronous:
                recorder.batch_hooks_present = True
                probed.append(BatchProbe(recorder, type(cb).__name__))
            else:
                probed.append(Probe(recorder, type(cb).__name__))
        probed.append(LastProbe(recorder, self._end))
        callback_list.callbacks = probed

        def restore() -> None:
            if callback_list.callbacks is probed:
                callback_list.callbacks = original

        return restore

    def _wrap(self, recorder: Recorder, backend: Backend, restore_list: Callable[[], None]) -> None:
        model = recorder.model
        _set_wrapped(model, "train_function", backend.wrap_train, _TrainHook(recorder), recorder)

        def wrap_test() -> None:
            if getattr(model.test_function, "__diagnose__", None) is not recorder:
                _unwrap(model, "test_function")
                _set_wrapped(model, "test_function", backend.wrap_test, _TestHook(recorder), recorder)

        def take_out() -> None:
            _unwrap(model, "train_function")
            _unwrap(model, "test_function")
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

    def diagnose(self, evaluate: Any = None, *, fit: int | None = None) -> Diagnosis:
        """Analyses a traced fit.

        Args:
            evaluate: the data the question is about: (x, y), (x, y, sample_weight), or an iterable of such batches;
            arrays are
                evaluated in batches of 32, as Keras's `evaluate` does by default. Without it, the rows `fit` used,
                each once.
            fit: which fit of this tracer, 1-based; the last by default.

        Raises:
            DiagnoseError: nothing was traced, or there is no such fit.
        """
        from diagnose.analysis import diagnose_run

        self.close()
        if not self.runs:
            raise DiagnoseError("Nothing was traced yet: pass this tracer in fit's callbacks first.")
        if fit is not None and not 1 <= fit <= len(self.runs):
            raise DiagnoseError(f"There is no fit {fit}: this tracer recorded {len(self.runs)}.")
        return diagnose_run(self.runs[-1 if fit is None else fit - 1], evaluate=evaluate)


class _TrainHook:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def armed(self) -> bool:
        # The flag is set for one execution and covers its `steps_per_execution` steps.
        return self.recorder.take_armed()

    @guarded
    def before(self, data: Any, state: Any) -> None:
        self.recorder.before_step(data, state)

    @guarded
    def fetched(self, data: Any) -> None:
        self.recorder.fetched(data)

    @guarded
    def after(self, state: Any) -> None:
        self.recorder.after_step(state)


class _TestHook:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def armed(self) -> bool:
        return self.recorder.evaluation_active()

    @guarded
    def before(self, data: Any, state: Any) -> None:
        self.recorder.before_evaluation_batch(state)
        if data is not None:
            self.recorder.evaluation_batch(data)

    @guarded
    def fetched(self, data: Any) -> None:
        self.recorder.evaluation_batch(data)

    def after(self, state: Any) -> None:
        """Nothing is read after a test step: it changes no weights."""


def compiled_parts(model: Any) -> dict[str, Any]:
    """What `compile` made and analysis replays with, so that a later `compile` of the same model does no harm."""
    names = ("_compile_loss", "_compile_metrics", "_loss_tracker", "optimizer")
    return {name: getattr(model, name, None) for name in names}


def _start_recorder(path: Path, model: Any, backend: Backend, weights: str, budget: Budget) -> Recorder:
    writer = TraceWriter(path)
    parameters = sum(math.prod(v.shape) for v in model.variables) if model.built else 0
    every_update = weights == "auto" and parameters <= budget.parameters
    writer.info("policy", {"every_update": every_update, "parameters": budget.parameters, "nbytes": budget.nbytes})
    encoder = Encoder(writer, budget, every_update=every_update)
    nbytes = 4 * max(parameters, 1)
    return Recorder(model, backend, Worker(writer, encoder, depth=max(2, min(64, (256 << 20) // nbytes))))


def _set_wrapped(model: Any, name: str, wrap: Any, hook: Any, recorder: Recorder) -> None:
    original = getattr(model, name)
    wrapped = wrap(model, original, hook)
    wrapped.__wrapped__ = original
    wrapped.__diagnose__ = recorder
    setattr(model, name, wrapped)


def _unwrap(model: Any, name: str) -> None:
    function: Any = getattr(model, name, None)
    if getattr(function, "__diagnose__", None) is not None:
        setattr(model, name, function.__wrapped__)


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise TraceWriteError(f"{path} is a folder; name a file in it.")
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
