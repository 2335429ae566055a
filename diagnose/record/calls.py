"""Notes every `evaluate`, `predict`, `test_on_batch` and `predict_on_batch` that a script makes of a model that was fit
under our eyes. Changes nothing in them: not what they return, print or raise.

A call belongs to the last fit of its model, or, of a model of which no fit is known, to the last of one with the same
variables, or some of them: it was loaded or built again.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np

from diagnose.errors import DiagnoseError
from diagnose.frameworks.keras.model_state import variables_exist
from diagnose.frameworks.keras.origin import code_by_keras
from diagnose.frameworks.keras.trainers import COMPILED, SCORED_BY, is_validation_of_fit, values_in_order
from diagnose.record import saves
from diagnose.record.backends import current_backend
from diagnose.record.backends.base import Variables
from diagnose.record.batches import NotCaptured, take
from diagnose.record.call_items import Call, CallRows, Calls, Kind
from diagnose.record.call_source import Drawn
from diagnose.record.handlers import let_through
from diagnose.record.run import Run, computed, shapes_of
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.rows import leaves_of

KINDS: Final[tuple[Kind, ...]] = ("evaluate", "predict", "test_on_batch", "predict_on_batch")

NO_ARRAYS: Final = "its rows came from a pipeline or a generator, not from arrays"

FREE_SECONDS: Final = 1.0
SHARE: Final = 0.1
"""What noting calls may take: so many seconds, and beyond them this share of the calls' own time."""

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_SCENARIOS = os.path.join(_PACKAGE, "_scenarios", "")
_LIBRARIES = tuple(os.sep + name + os.sep for name in ("site-packages", "dist-packages"))


class _Spent:
    """Seconds spent in calls, and in noting them."""

    inside = noting = 0.0


_SPENT = _Spent()
_RUNS: weakref.WeakSet[Run] = weakref.WeakSet()
_HOLDERS: set[int] = set()
_LOCK = threading.RLock()


def known(run: Run) -> None:
    """Calls of this run's model are noted from here on, while anybody holds the patch."""
    _RUNS.add(run)


def hold(holder: Any, model_class: Any) -> None:
    """Sets the patch on `keras.Model`, until all who hold it let go."""
    with _LOCK:
        _HOLDERS.add(id(holder))
        for kind in (*KINDS, *saves.SAVES):
            _install(model_class, kind)


def let_go(holder: Any, model_class: Any) -> None:
    """Takes the patch out where nobody else holds it."""
    with _LOCK:
        _HOLDERS.discard(id(holder))
        if not _HOLDERS and model_class is not None:
            for kind in (*KINDS, *saves.SAVES):
                _uninstall(model_class, kind)


def _install(model_class: Any, kind: str) -> None:
    original = getattr(model_class, kind)
    inner: Any = original
    while inner is not None:
        if hasattr(inner, "__diagnose_noted__"):
            return  # there already, perhaps below a patch that others set
        inner = getattr(inner, "__wrapped__", None)
    noted = saves.saving(original, _RUNS) if kind in saves.SAVES else _calling(kind, original)
    noted.__diagnose_noted__ = kind not in vars(model_class)
    setattr(model_class, kind, noted)


def _calling(kind: Any, original: Any) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def noted(model: Any, *args: Any, **kwargs: Any) -> Any:
        run = _run_of(model) if _HOLDERS else None
        if run is None:
            return original(model, *args, **kwargs)
        try:
            bound = signature.bind(model, *args, **kwargs)
        except TypeError:
            bound = None
        if bound is None:
            return original(model, *args, **kwargs)  # wrong arguments: let Keras say so
        return _noted(kind, original, bound, model, run)

    return noted


def _uninstall(model_class: Any, kind: str) -> None:
    """Below a patch that others set it stays, and does nothing."""
    found: Any = vars(model_class).get(kind)
    if getattr(getattr(found, "__code__", None), "co_filename", None) not in (__file__, saves.__file__):
        return
    if found.__diagnose_noted__:
        delattr(model_class, kind)
    else:
        setattr(model_class, kind, found.__wrapped__)


def _run_of(model: Any) -> Run | None:
    """The fit that a call of this model belongs to; None where none is known, or no more of its calls are noted."""
    try:
        runs = sorted((run for run in _RUNS if run.recorder.pid == os.getpid()), key=lambda run: -run.started)
        found = next((run for run in runs if run.model is model), None)
        if found is None and runs:
            shapes = shapes_of(model)
            found = next((run for run in runs if shapes and run.shapes == shapes), None)
            found = found or next((run for run in runs if shapes and _alike(run.shapes, shapes)), None)
        if found is None or found.calls.error is not None:
            return None
        if found.calls.full:
            found.calls.left_out += 1
            return None
        return found
    except Exception as error:
        let_through(error)
        return None


def _alike(a: Sequence[Any] | None, b: Sequence[Any]) -> bool:
    """Whether one model may hold weights of the other: half of the variables of the smaller have a shape that the other
    has, too, and not only those of one axis, as many models have."""
    common = Counter(a or ()) & Counter(b)
    return 2 * common.total() >= min(len(a or ()), len(b)) and any(len(shape) > 1 for shape in common)


class _Note:
    """One call on its way: what is read before it, and after it."""

    def __init__(self, kind: Kind, model: Any, run: Run, arguments: Mapping[str, Any], site: tuple[str, int]) -> None:
        self.kind, self.model, self.run, self.site = kind, model, run, site
        self.arguments = arguments
        self.drawn: Drawn | None = None
        self.sizes: tuple[int, ...] | None = None
        self.weights: tuple[Digest, ...] | None = None
        self.rows, self.why = _rows(run.calls, arguments)
        if variables_exist(model):
            self.weights = _weights(run.calls, model)

    def watch(self, bound: inspect.BoundArguments) -> None:
        """Has rows noted that are drawn in the call."""
        drawn = Drawn(self.model)
        callbacks = drawn.added_to(bound.arguments.get("callbacks"))
        if callbacks is not None:
            self.drawn, bound.arguments["callbacks"] = drawn, callbacks

    def done(self, result: Any, logs: Mapping[str, Any] | None) -> None:
        run, model = self.run, self.model
        if self.drawn is not None:
            try:
                taken, self.sizes = self.drawn.rows()
                self.rows, self.why = run.calls.keep_rows(taken), None
            except NotCaptured as reason:
                self.why = str(reason)
        same = run.model is model
        asked = not self.kind.startswith("predict")
        same_compile, otherwise = _same_compile(run, model) if same else None, {}
        if not asked:
            same_compile = same_compile or None  # predictions do not ask
        elif same_compile is not True and (found := _otherwise(run, model)) is not None:
            same_compile, otherwise = not found, found
        fits = run.recorder.active() and run.recorder.epoch > 0 and run.has_fit
        batch_size, steps = (self.arguments.get(name) for name in ("batch_size", "steps"))
        run.calls.add(
            Call(
                kind=self.kind,
                file=self.site[0],
                line=self.site[1],
                epoch=run.recorder.epoch if fits else None,
                same_model=same,
                same_compile=same_compile,
                batch_size=int(batch_size) if isinstance(batch_size, (int, np.integer)) else None,
                sizes=self.sizes,
                steps=int(steps) if isinstance(steps, (int, np.integer)) else None,
                returned=numbers(logs or {}),
                predictions=None if asked else _predictions(run.calls, result),
                rows=self.rows,
                why=self.why,
                weights=_weights(run.calls, model) if self.weights is None else self.weights,
                before=0 if self.rows is None else run.recorder.start.trained.count(self.rows.both or ()),
                of_fit=self.arguments.get("x") is not None and self.arguments.get("x") is run.given(),
                paths=() if same else tuple(str(v.path) for v in model.variables),
                shapes=() if same else tuple(shapes_of(model) or ()),
                otherwise=otherwise,
                compiled={name: getattr(model, name, None) for name in SCORED_BY} if otherwise else {},
            )
        )


def _noted(kind: Kind, original: Callable[..., Any], bound: inspect.BoundArguments, model: Any, run: Run) -> Any:
    began = time.perf_counter()
    note = _attempt(run, lambda: _note(kind, bound, model, run))
    if note is None:
        return original(*bound.args, **bound.kwargs)
    # By name, and then in the form that was asked for: by itself `evaluate` does nothing else.
    asks = "return_dict" in inspect.signature(original).parameters and code_by_keras(original)
    wanted = bool(bound.arguments.get("return_dict"))
    if asks:
        bound.arguments["return_dict"] = True
    if kind in ("evaluate", "predict") and code_by_keras(original) and note.why == NO_ARRAYS:
        _attempt(run, lambda: note.watch(bound))
    started = time.perf_counter()
    try:
        result = original(*bound.args, **bound.kwargs)
    finally:
        if note.drawn is not None:
            note.drawn.end()
    ended = time.perf_counter()
    logs = result if isinstance(result, dict) and (asks or wanted) else None
    if logs is not None and not wanted:
        result = values_in_order(model, logs)
    _attempt(run, lambda: note.done(result, logs))
    drawing = 0.0 if note.drawn is None else note.drawn.seconds
    _SPENT.inside += ended - started - drawing
    _SPENT.noting += started - began + time.perf_counter() - ended + drawing
    return result


def _note(kind: Kind, bound: inspect.BoundArguments, model: Any, run: Run) -> _Note | None:
    if is_validation_of_fit(bound.arguments):
        return None
    site = _site()
    if site is not None and _SPENT.noting > FREE_SECONDS + SHARE * _SPENT.inside:
        run.calls.left_out += 1
        return None
    return None if site is None else _Note(kind, model, run, bound.arguments, site)


def _attempt(run: Run, do: Callable[[], Any]) -> Any:
    """None where it fails: the call goes on, and no more of this fit are noted."""
    try:
        return do()
    except Exception as error:
        let_through(error)
        run.calls.error = f"{type(error).__name__}: {error}"
        return None


def told(run: Run, returned: Any, arguments: Mapping[str, Any]) -> None:
    """Notes a call that was made when none was watched, as its caller tells of it.

    Args:
        returned: what `evaluate` returned: a number, a list, or values by name.
        arguments: x, y, sample_weight, batch_size and steps, as it was given them.

    Raises:
        DiagnoseError: these values do not fit the model's metrics, or the model is gone.
    """
    model = run.model
    if model is None:
        raise DiagnoseError("The model of this fit is gone; keep a reference to it until its numbers are explained.")
    note = _Note("evaluate", model, run, arguments, _site(ours=True) or ("", 0))
    note.done(None, _named(model, returned))


def _named(model: Any, returned: Any) -> dict[str, Any]:
    names = list(model.get_metrics_result())
    ordered = values_in_order(model, {name: name for name in names})
    if isinstance(returned, Mapping):
        found = dict(returned)
    else:
        listed = list(returned) if np.ndim(returned) else [returned]
        every = ordered if isinstance(ordered, list) else [ordered]
        found = dict(zip(every, listed, strict=True)) if len(every) == len(listed) else {}
    if not found or not set(found) <= set(names):
        raise DiagnoseError(f"These values do not fit the model's metrics, which are {', '.join(names)}.")
    return found


def _site(*, ours: bool = False) -> tuple[str, int] | None:
    """Where the user's code makes the call; None where it is ours, unless that is known (`ours`). Code of libraries
    stands for it only where there is no other."""
    import keras

    framework = os.path.dirname(keras.__file__) + os.sep
    frame: FrameType | None = sys._getframe(1)
    found: tuple[str, int] | None = None
    first = True
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith(framework):
            own = file.startswith(_PACKAGE) and not file.startswith(_SCENARIOS)
            if own and first and not ours:
                return None
            first = False
            if not own and not any(part in file for part in _LIBRARIES):
                return file, frame.f_lineno
            found = found or (file, frame.f_lineno)
        frame = frame.f_back
    return found


def _rows(calls: Calls, arguments: Mapping[str, Any]) -> tuple[CallRows | None, str | None]:
    x, y, weight = (arguments.get(name) for name in ("x", "y", "sample_weight"))
    try:
        found = rows_given(calls, x, y, weight)
    except NotCaptured as reason:
        return None, str(reason)
    return found, None


def rows_given(calls: Calls, x: Any, y: Any, sample_weight: Any) -> CallRows:
    """The rows of arrays in memory. Raises NotCaptured, with the reason, for what is none."""
    leaves = [*leaves_of(x), *leaves_of(y)]
    forms = (("shape", "dtype"), ("shape", "__array__"))
    if not leaves or not all(any(all(hasattr(leaf, n) for n in form) for form in forms) for leaf in leaves):
        raise NotCaptured(NO_ARRAYS)
    backend = current_backend()

    def to_numpy(value: Any) -> NDArray:
        plain = hasattr(value, "__array__") and not hasattr(value, "detach")
        return _as_keras_has_it(np.asarray(value if plain else backend.view(value)))

    return calls.keep_rows(take((x, y, sample_weight), to_numpy))


def _as_keras_has_it(array: NDArray) -> NDArray:
    """Floats become the default float type on their way to a step (`keras/src/trainers/data_adapters`)."""
    import keras

    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _weights(calls: Calls, model: Any) -> tuple[Digest, ...]:
    backend, variables = current_backend(), Variables.of(model)
    live = backend.live(model, variables)
    views = [np.asarray(backend.view(value)) for value in list(live.variables)[: len(variables.all)]]
    return calls.keep(views)


def _same_compile(run: Run, model: Any) -> bool | None:
    """Whether what `compile` made is what the fit trained with; within the fit it is."""
    compiled = run.compiled
    if compiled is None:
        return False
    return all(getattr(model, name, None) is part for name, part in compiled.items() if name in COMPILED)


def numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Values by name, those that are numbers."""
    return {str(name): float(value) for name, value in logs.items() if np.ndim(value) == 0}


def _otherwise(run: Run, model: Any) -> dict[str, tuple[str | None, str | None]] | None:
    """What is computed by something else than in the fit; None where either is not known."""
    then = run.computed_by if run.computed_by is not None or run.model is None else computed(run.model)
    now = computed(model)
    if not then or not now:
        return None
    return {name: (now.get(name), then.get(name)) for name in {**then, **now} if now.get(name) != then.get(name)}


def _predictions(calls: Calls, predictions: Any) -> tuple[Digest, ...] | None:
    leaves = leaves_of(predictions)
    if not leaves or not all(isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc" for leaf in leaves):
        return None
    return calls.keep(leaves)
