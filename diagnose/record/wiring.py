"""Sets a recorder's wrapped functions on a model and takes them out again. Shared by the callback and by loops of
`train_on_batch`; knows nothing of callbacks."""

from __future__ import annotations

import math
import threading
import uuid
import weakref
from pathlib import Path
from typing import Any

from diagnose.errors import DiagnoseError
from diagnose.frameworks.keras.fits import fit_runs
from diagnose.frameworks.keras.model_state import variables_exist
from diagnose.frameworks.keras.origin import code_by_keras
from diagnose.record.backends import Backend, Source, current_backend
from diagnose.record.budget import Budget
from diagnose.record.calls import known
from diagnose.record.choice import Choice
from diagnose.record.costs import Metered
from diagnose.record.encoder import Encoder
from diagnose.record.guard import guarded
from diagnose.record.handlers import let_through
from diagnose.record.least import Asked
from diagnose.record.light import DIGESTS, INPUTS, VERSIONS
from diagnose.record.names import numbered
from diagnose.record.recorder import Recorder
from diagnose.record.run import Run
from diagnose.record.worker import Worker
from diagnose.tracefile.create import is_written_here
from diagnose.tracefile.writer import TraceWriter


class TrainHook:
    def __init__(self, recorder: Recorder, source: Source | None = None) -> None:
        self.recorder = recorder
        self.source = source

    def armed(self) -> bool:
        # The flag is set for one execution and covers its `steps_per_execution` steps.
        return self.recorder.take_armed()

    @guarded
    def batch_axis(self, fixed: bool) -> None:
        self.recorder.batch_axis("batch_axis", fixed)

    @guarded
    def before(self, data: Any, state: Any) -> None:
        if data is None and self.source is not None:
            self.source.clear()
        self.recorder.before_step(data, state)

    @guarded
    def fetched(self, *batches: Any) -> None:
        if batches or not self.recorder.fetched_by_place():
            self.recorder.fetched(batches or (() if self.source is None else self.source.take()))

    @guarded
    def after(self, state: Any) -> None:
        self.recorder.after_step(state)
        if self.recorder.at_source:  # Keras looks the function up before each step
            unwrap(self.recorder.model, "train_function")


class TestHook:
    def __init__(self, recorder: Recorder, source: Source | None = None) -> None:
        self.recorder = recorder
        self.source = source

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
        elif self.source is not None:
            self.source.clear()

    @guarded
    def fetched(self, *batches: Any) -> None:
        for data in batches or (() if self.source is None else self.source.take()):
            self.recorder.evaluation_batch(data)

    def after(self, state: Any) -> None:
        """Nothing is read after a test step: it changes no weights."""


def start_recorder(
    path: Path,
    model: Any,
    backend: Backend,
    asked: Asked,
    budget: Budget,
    *,
    at_least: int = INPUTS,
    because: str | None = None,
) -> Recorder:
    """Opens the trace file and starts its background thread. `because`: why the level is `at_least` so much
    (`tracefile.about.Policy`)."""
    writer = TraceWriter(path, page_bytes=budget.page_bytes())
    parameters = sum(math.prod(v.shape) for v in model.variables) if variables_exist(model) else 0
    level = max(at_least, asked.of_model(parameters, budget.parameters))
    choice = Choice(level, at_least, asked.overhead, because) if asked.chosen else None
    every_update = level == VERSIONS
    policy = {
        "every_update": every_update,
        "parameters": budget.parameters,
        "nbytes": budget.nbytes,
        "rows": asked.rows,
        "level": level,
        **({} if choice is None else choice.policy),
    }
    identity = uuid.uuid4().hex
    writer.info("recording", {"id": identity})
    writer.info("policy", policy)
    writer.commit()  # however the recording ends, it can be told from others
    encoder = Encoder(writer, budget, every_update=every_update, keep_rows=asked.rows == "keep")
    worker = Worker(writer, encoder if choice is None else Metered(encoder, choice.meter))
    recorder = Recorder(model, backend, worker, identity, level, policy, encoder.start)
    recorder.choice = choice
    return recorder


def set_wrapped(model: Any, name: str, wrap: Any, hook: Any, run: Run) -> None:
    """Sets `wrap`'s wrapper in the place of the model's function `name`; nothing where the model has none, because a
    callback compiled it: Keras would take a wrapper for a function that need not be made."""
    original = getattr(model, name)
    if original is None:
        return
    wrapped = wrap(model, original, hook)
    wrapped.__wrapped__ = original
    wrapped.__diagnose__ = run
    setattr(model, name, wrapped)


def source_of(recorder: Recorder, epoch_iterator: Any) -> Source | None:
    """What notes the data of a fit: the order of the rows of arrays, where that tells what each step took; else each
    batch that the wrapped function does not get."""
    # A function of the user's may take several batches at a time, or none.
    if code_by_keras(recorder.model.train_function):
        try:
            arrays = recorder.backend.tap_arrays(epoch_iterator) if _by_order(recorder) else None
        except Exception as error:  # Keras has another inside than known
            let_through(error)
            arrays = None
        if arrays is not None:
            recorder.tell_by(arrays)
            return arrays
    return recorder.backend.tap(epoch_iterator, recorder.active)


def _by_order(recorder: Recorder) -> bool:
    """Whether the order of rows is enough: in the lightest recording, and where a step's own arrays need not be held
    against it, because nobody can write into those that Keras goes over."""
    choice = recorder.choice
    light = recorder.level == INPUTS or (choice is not None and choice.least == INPUTS)
    return (light and not recorder.batch_hooks_present) or recorder.backend.copies_arrays


def unwrap(model: Any, name: str) -> None:
    """Takes a wrapper of this package out, whoever set it."""
    function: Any = getattr(model, name, None)
    if getattr(function, "__diagnose__", None) is not None:
        setattr(model, name, function.__wrapped__)


def recording(model: Any) -> Run | None:
    """The run that records this model's train steps now, or has been left behind by a fit that raised."""
    run: Run | None = getattr(getattr(model, "train_function", None), "__diagnose__", None)
    if run is None:  # its steps may be told by a source
        run = next((r for r in list(_OPEN) if r.recorder.at_source and r.recorder.model is model), None)
    return run if run is not None and run.recorder.active() else None


def recorded_with(callback_list: Any) -> Run | None:
    """The run that records the fit with these callbacks."""
    if callback_list is None:
        return None
    return next((run for run in list(_OPEN) if run.callback_list is callback_list and run.recorder.active()), None)


def is_running(run: Run) -> bool:
    """Whether the fit of an unfinished run still runs, in any thread. One that raised never says that it ended."""
    return fit_runs(run.callback_list)


_OPEN: weakref.WeakSet[Run] = weakref.WeakSet()
_OPENING = threading.Lock()


def open_run(
    path: Path,
    model: Any,
    number: int,
    owner: Any,
    asked: Asked,
    budget: Budget,
    callback_list: Any = None,
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
        # Between the steps of a loop, and on several replicas, a look at each is needed.
        because = "loop" if callback_list is None else None if spread is None else "replicas"
        least = INPUTS if because is None else DIGESTS
        recorder = start_recorder(path, model, backend, asked, budget, at_least=least, because=because)
        try:
            run = Run(path, model, number, recorder, owner, callback_list)
            _OPEN.add(run)
            known(run)
        except BaseException:
            recorder.finish("failed")
            raise
        return run


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while (run := _writing(candidate)) is not None or is_written_here(candidate):
        if run is not None and (run.recorder.finished or (not is_running(run) and run.has_fit)):
            run.owner.close()
            if not is_written_here(candidate):
                break
        number += 1
        candidate = numbered(path, number)
    return candidate


def _writing(path: Path) -> Run | None:
    """The recording that has this file open, be it at its end."""
    wanted = path.absolute()
    return next((run for run in list(_OPEN) if not run.recorder.sealed and run.path.absolute() == wanted), None)
