"""Sets a recorder's wrapped functions on a model and takes them out again. Shared by the callback and by loops of
`train_on_batch`; knows nothing of callbacks."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import types
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnose.errors import DiagnoseError
from diagnose.record.backends import Backend, current_backend
from diagnose.record.budget import Budget
from diagnose.record.encoder import Encoder
from diagnose.record.guard import guarded
from diagnose.record.recorder import Recorder
from diagnose.record.worker import Worker
from diagnose.trace.create import is_written_here
from diagnose.trace.writer import TraceWriter


@dataclass(eq=False)
class Run:
    """One traced fit: its trace file, and what analysis in this process needs of the model it trained."""

    path: Path
    model: Any
    number: int
    recorder: Recorder
    owner: Any = None
    """The tracer that records it. Others that were attached to the same fit share this run."""
    callback_list: Any = None
    """Of the fit while it is traced; tells whether the fit is still running."""
    compiled: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


class TrainHook:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def armed(self) -> bool:
        # The flag is set for one execution and covers its `steps_per_execution` steps.
        return self.recorder.take_armed()

    @guarded
    def batch_axis(self, fixed: bool) -> None:
        self.recorder.batch_axis("batch_axis", fixed)

    @guarded
    def before(self, data: Any, state: Any) -> None:
        self.recorder.before_step(data, state)

    @guarded
    def fetched(self, data: Any) -> None:
        self.recorder.fetched(data)

    @guarded
    def after(self, state: Any) -> None:
        self.recorder.after_step(state)


class TestHook:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def armed(self) -> bool:
        return self.recorder.evaluation_active()

    @guarded
    def batch_axis(self, fixed: bool) -> None:
        self.recorder.batch_axis("validation_batch_axis", fixed)

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


def start_recorder(path: Path, model: Any, backend: Backend, weights: str, budget: Budget) -> Recorder:
    """Opens the trace file and starts its background thread."""
    writer = TraceWriter(path, page_bytes=budget.page_bytes())
    parameters = sum(math.prod(v.shape) for v in model.variables) if model.built else 0
    every_update = weights == "auto" and parameters <= budget.parameters
    writer.info("policy", {"every_update": every_update, "parameters": budget.parameters, "nbytes": budget.nbytes})
    encoder = Encoder(writer, budget, every_update=every_update)
    return Recorder(model, backend, Worker(writer, encoder))


def compiled_parts(model: Any) -> dict[str, Any]:
    """What `compile` made and analysis replays with, so that a later `compile` of the same model does no harm."""
    names = ("_compile_loss", "_compile_metrics", "_loss_tracker", "optimizer")
    return {name: getattr(model, name, None) for name in names}


def set_wrapped(model: Any, name: str, wrap: Any, hook: Any, run: Run) -> None:
    """Sets `wrap`'s wrapper in the place of the model's function `name`."""
    original = getattr(model, name)
    wrapped = wrap(model, original, hook)
    wrapped.__wrapped__ = original
    wrapped.__diagnose__ = run
    setattr(model, name, wrapped)


def unwrap(model: Any, name: str) -> None:
    """Takes a wrapper of this package out, whoever set it."""
    function: Any = getattr(model, name, None)
    if getattr(function, "__diagnose__", None) is not None:
        setattr(model, name, function.__wrapped__)


def recording(model: Any) -> Run | None:
    """The run that records this model's train steps now, or has been left behind by a fit that raised."""
    run: Run | None = getattr(getattr(model, "train_function", None), "__diagnose__", None)
    return run if run is not None and run.recorder.active() else None


def is_running(run: Run) -> bool:
    """Whether the fit of an unfinished run still runs, in any thread. One that raised never says that it ended."""
    if run.callback_list is None:
        return False
    for top in sys._current_frames().values():
        frame: types.FrameType | None = top
        while frame is not None:
            if frame.f_code.co_name == "fit" and frame.f_locals.get("callbacks") is run.callback_list:
                return True
            frame = frame.f_back
    return False


_OPEN: weakref.WeakSet[Run] = weakref.WeakSet()
_OPENING = threading.Lock()


def open_run(
    path: Path, model: Any, number: int, owner: Any, weights: str, budget: Budget, callback_list: Any = None
) -> Run:
    """Begins a recording of the model in `path`, or under another name beside it where another fit that still
    runs is writing to `path`. A recording left behind there by a fit that raised is closed and replaced."""
    backend = current_backend()
    spread = backend.distribution(model)
    if spread is not None and spread.refusal is not None:
        raise DiagnoseError(f"{spread.refusal[0].upper()}{spread.refusal[1:]}.")
    if spread is not None and spread.local < spread.replicas and callback_list is None:
        raise DiagnoseError("Loops of train_on_batch on several workers are not recorded.")
    with _OPENING:
        path = _free(path)
        recorder = start_recorder(path, model, backend, weights, budget)
        run = Run(path, model, number, recorder, owner, callback_list)
        _OPEN.add(run)
        return run


def of_this_process(path: Path, made_in: int) -> Path:
    """`path`, under another name in a forked child of the process that chose it: the parent may be writing there."""
    if os.getpid() == made_in:
        return path
    return path.with_name(f"{path.stem}-pid{os.getpid()}{path.suffix}")


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while (run := _writing(candidate)) is not None or is_written_here(candidate):
        if run is not None and run.callback_list is not None and not is_running(run):
            run.owner.close()
            if not is_written_here(candidate):
                break
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _writing(path: Path) -> Run | None:
    wanted = path.absolute()
    return next((run for run in list(_OPEN) if run.recorder.active() and run.path.absolute() == wanted), None)
