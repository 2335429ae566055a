"""Adds a tracer to every `fit` made while attached, for code that does not know the tool."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import wrapt

from diagnose.frameworks.keras.trainers import MODEL_MODULE
from diagnose.record.guard import not_traced
from diagnose.record.handlers import let_through
from diagnose.record.held import Kept

if TYPE_CHECKING:
    from diagnose.record.run import Run
    from diagnose.record.tracer import Tracer


class Attachment:
    """All fits traced while attached, in order. Fits in forked children are none of them: the file is the parent's.

    Args:
        new_tracer: makes the tracer for fit number n (1-based), or None where that fit is not to be traced. Not asked
            where the user's own callbacks hold one, or where an attachment inside this one traces the fit.
        wanted: whether fit number n is of interest; others are counted only.
        everywhere: takes the fits of threads that have attachments of their own, too.
    """

    def __init__(
        self,
        new_tracer: Callable[[int], Tracer],
        *,
        wanted: Callable[[int], bool] = lambda number: True,
        everywhere: bool = True,
    ) -> None:
        self.new_tracer = new_tracer
        self.wanted = wanted
        self.everywhere = everywhere
        self.pid = os.getpid()
        self.thread = threading.get_ident()
        self.started = 0
        """How many fits were called."""
        self._lock = threading.Lock()
        self._runs: dict[int, Run] = {}
        self._tracers: list[Any] = []
        self._kept = Kept()
        self._silent = False

    @property
    def runs(self) -> dict[int, Run]:
        """The traced fits by number, in the order they started. A fit that failed before training began has none."""
        return dict(sorted(self._runs.items()))

    def count(self) -> int:
        """The number of a fit that starts now."""
        with self._lock:
            self.started += 1
            return self.started

    def add(self, number: int, run: Run) -> None:
        """Fit `number` is recorded in `run`, which other attachments may share."""
        if self.wanted(number):
            self._runs[number] = run
            with self._lock:
                self._kept.add(run.held)

    def add_tracer(self, tracer: Any) -> None:
        """`tracer` may be open still when this ends, and is closed then."""
        with self._lock:
            if not any(tracer is known for known in self._tracers):
                self._tracers.append(tracer)

    def done(self, tracer: Any) -> None:
        """A fit of `tracer` ended. It is forgotten, unless it records another one."""
        with self._lock:
            self._silent = self._silent or getattr(tracer, "silent", False)
            if not tracer.recording:
                self._tracers = [known for known in self._tracers if known is not tracer]

    @property
    def silent(self) -> bool:
        """Whether fits were left to the tracer of another worker."""
        return self._silent or any(getattr(tracer, "silent", False) for tracer in self._tracers)

    def start(self) -> None:
        """From here on fits are traced."""
        self.pid, self.thread = os.getpid(), threading.get_ident()
        with _LOCK:
            _ATTACHED.append(self)
            module = sys.modules.get(MODEL_MODULE)
            if hasattr(module, "Model"):
                _install(module)
            else:
                _watch_import()

    def stop(self) -> None:
        """Fits from here on are not traced; recordings that are still open are closed."""
        with _LOCK:
            if self in _ATTACHED:
                _ATTACHED.remove(self)
            if not _ATTACHED:
                _uninstall(sys.modules.get(MODEL_MODULE))
        if self.pid == os.getpid():
            for tracer in list(self._tracers):
                tracer.close()


@contextmanager
def attached(new_tracer: Callable[[int], Tracer], **options: Any) -> Iterator[Attachment]:
    """Within: every `fit` is traced, from whenever Keras is imported. Keras is not imported by this: a script may first
    set up its backend and environment. `options`: those of `Attachment`."""
    attachment = Attachment(new_tracer, **options)
    attachment.start()
    try:
        yield attachment
    finally:
        attachment.stop()


def attachments() -> list[Attachment]:
    """Those that a fit in this thread belongs to, the innermost last. A thread with attachments of its own belongs to
    them and to those that look everywhere; any other thread, to all."""
    found = [a for a in list(_ATTACHED) if a.pid == os.getpid()]
    here = threading.get_ident()
    if any(a.thread == here and not a.everywhere for a in found):
        found = [a for a in found if a.thread == here or a.everywhere]
    return found


def note(tracer: Any, run: Run) -> None:
    """Something that is no `fit` is being recorded; it counts as one."""
    for attachment in attachments():
        attachment.add(attachment.count(), run)
        attachment.add_tracer(tracer)


def note_end(tracer: Any) -> None:
    """What `note` told of is recorded no more."""
    for attachment in list(_ATTACHED):
        attachment.done(tracer)


# ── the patch: one for all attachments ──

_ATTACHED: list[Attachment] = []
_LOCK = threading.RLock()
_ADDED = threading.local()
"""`tracers`: those added to a fit that this thread is in."""
_watching_import = False


def _watch_import() -> None:
    global _watching_import
    if not _watching_import:
        _watching_import = True
        wrapt.register_post_import_hook(_imported, MODEL_MODULE)


def _imported(module: Any) -> None:
    with _LOCK:
        if _ATTACHED:
            _install(module)


def _install(module: Any) -> None:
    """Sets a `fit` on `keras.Model` that adds a tracer to its callbacks, and has other calls noted."""
    from diagnose.record.calls import hold

    model_class = module.Model
    hold(_ATTACHED, model_class)
    original = model_class.fit
    inner: Any = original
    while inner is not None:
        if hasattr(inner, "__diagnose_inherited__"):
            return  # there already, perhaps below a patch that others set
        inner = getattr(inner, "__wrapped__", None)
    # Keras's own, whatever others have put in the place of it.
    inherited = next(vars(base)["fit"] for base in model_class.__mro__[1:] if "fit" in vars(base))
    signature = inspect.signature(inherited)

    @functools.wraps(original)
    def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
        here = attachments()
        if not here:
            return original(model, *args, **kwargs)
        try:
            arguments = signature.bind(model, *args, **kwargs)
        except TypeError:
            arguments = None
        if arguments is None:
            for attachment in here:
                attachment.count()
            return original(model, *args, **kwargs)  # wrong arguments: let Keras say so
        return _traced_fit(original, model, arguments, here)

    fit.__diagnose_inherited__ = "fit" not in vars(model_class)  # type: ignore[attr-defined]
    model_class.fit = fit


def _uninstall(module: Any) -> None:
    """Takes the patch out. Below a patch that others set it stays, and does nothing."""
    model_class = getattr(module, "Model", None)
    if model_class is not None:
        from diagnose.record.calls import let_go

        let_go(_ATTACHED, model_class)
    fit: Any = vars(model_class).get("fit") if model_class is not None else None
    inherited = getattr(fit, "__dict__", {}).get("__diagnose_inherited__")
    if model_class is None or inherited is None or not _is_ours(fit):
        return
    if inherited:
        del model_class.fit
    else:
        model_class.fit = fit.__wrapped__


def _is_ours(fit: Any) -> bool:
    # functools.wraps copies attributes, so a patch around ours carries the mark as well.
    return getattr(fit, "__code__", None) is not None and fit.__code__.co_filename == __file__


@dataclass
class _Added:
    """What was done to a fit's callbacks."""

    tracer: Tracer
    ours: bool
    take_out: Callable[[], None]


def _traced_fit(original: Any, model: Any, bound: inspect.BoundArguments, here: list[Attachment]) -> Any:
    inside: list[Any] = _ADDED.__dict__.setdefault("tracers", [])
    if inside and any(cb is tracer for cb in _listed(bound.arguments) for tracer in inside):
        return original(*bound.args, **bound.kwargs)  # our own patch, met twice on the way to Keras
    numbers = [(attachment, attachment.count()) for attachment in here]
    try:
        added = _add_tracer(model, bound.arguments, numbers)
    except Exception as error:
        let_through(error)
        not_traced(error)
        return original(*bound.args, **bound.kwargs)
    if added is None:
        return original(*bound.args, **bound.kwargs)
    tracer = added.tracer
    before = len(tracer.runs)
    inside.append(tracer)
    try:
        return original(*bound.args, **bound.kwargs)
    finally:
        inside.remove(tracer)
        added.take_out()
        tracer.close_left()
        here_now = threading.get_ident()
        run = next((run for run in tracer.runs[before:] if run.thread == here_now), None)
        for attachment, number in numbers:
            if run is not None:
                attachment.add(number, run)
            attachment.done(tracer)
        if added.ours:
            tracer.let_go()


def _listed(arguments: dict[str, Any]) -> list[Any]:
    import keras

    given = arguments.get("callbacks")
    return list(given.callbacks if isinstance(given, keras.callbacks.CallbackList) else keras.tree.flatten(given or []))


def _add_tracer(model: Any, arguments: dict[str, Any], numbers: list[tuple[Attachment, int]]) -> _Added | None:
    """Sees to it that the fit has a tracer: the user's own, else one of the innermost attachment that wants the fit."""
    import keras

    from diagnose.record.tracer import Tracer

    given = arguments.get("callbacks")
    listed = _listed(arguments)
    wanting = [(attachment, number) for attachment, number in numbers if attachment.wanted(number)]
    own = next((cb for cb in listed if isinstance(cb, Tracer)), None)
    if own is None and not wanting:
        return None
    tracer = own or wanting[-1][0].new_tracer(wanting[-1][1])
    for attachment, _ in wanting:
        attachment.add_tracer(tracer)
    if own is None and isinstance(given, keras.callbacks.CallbackList):
        tracer.set_model(model)
        given.callbacks.append(tracer)
        return _Added(tracer, True, lambda: given.callbacks.remove(tracer))
    if own is None:
        arguments["callbacks"] = [*listed, tracer]
    return _Added(tracer, own is None, lambda: None)
