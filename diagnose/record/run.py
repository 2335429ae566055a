"""One traced fit as those see it who may diagnose it. Holds neither the model nor the callbacks of the fit beyond its
end."""

from __future__ import annotations

import json
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnose.frameworks.keras.trainers import COMPILED
from diagnose.record.call_items import Calls
from diagnose.record.describe_metrics import computed_by
from diagnose.record.handlers import let_through
from diagnose.record.held import Held
from diagnose.record.live import LiveData
from diagnose.record.recorder import Recorder
from diagnose.tracefile.model import Json


class Run:
    """One traced fit: its trace file, and what analysis in this process needs of the model it trained.

    While the fit runs, its model is held. Afterwards whoever may diagnose it holds it (`held`); this only knows it.
    """

    def __init__(
        self, path: Path, model: Any, number: int, recorder: Recorder, owner: Any = None, callback_list: Any = None
    ) -> None:
        self.path = path
        self.number = number
        self.recorder = recorder
        self.owner = owner
        """The tracer that records it. Others that were attached to the same fit share this run."""
        self.id = recorder.id
        """What the trace is known by: the file at `path` may be another recording's by now."""
        self.live: LiveData | None = None
        """The arrays `fit` was given, where the trace has only digests of their rows."""
        self.given: Callable[[], Any] = lambda: None
        """What fit was given as x, while it is there."""
        self.calls = Calls()
        """The script's own `evaluate` and `predict`, in and after the fit, of this model or of one like it."""
        self.shapes: list[tuple[int, ...]] | None = None
        """Of the model's variables, once the fit has ended."""
        self.computed_by: dict[str, str] | None = None
        """What the values in the logs were computed by, once the fit has ended (`describe_metrics.computed_by`)."""
        self.started = time.monotonic()
        self.thread = threading.get_ident()
        self._during: Held | None = Held(model)
        self._held = weakref.ref(self._during)
        self._model = weakref.ref(model)
        self._parts: dict[str, Callable[[], Any]] = {}
        self._list = None if callback_list is None else weakref.ref(callback_list)
        self._has_fit = callback_list is not None
        self._left: weakref.finalize[..., Any] | None = None
        self._architecture: bytes | None = None

    @property
    def model(self) -> Any:
        """The model, or None once it is gone."""
        return self._model()

    @property
    def callback_list(self) -> Any:
        """Of the fit while it is traced; tells whether the fit is still running."""
        return None if self._list is None else self._list()

    @property
    def has_fit(self) -> bool:
        """Whether it records a fit, and no loop of the user's, of which nothing tells whether it still runs."""
        return self._has_fit

    @property
    def compiled(self) -> dict[str, Any] | None:
        """What `compile` had made for this fit; None where some of it is gone, as after a `compile` since."""
        held = self._held()
        if held is not None:
            return held.compiled
        parts = {name: part() for name, part in self._parts.items()}
        return None if any(value is None and self._parts[name] is not _none for name, value in parts.items()) else parts

    @property
    def held(self) -> Held | None:
        """To be kept by whoever may diagnose this fit; None where nobody did."""
        return self._held()

    @property
    def architecture(self) -> Json:
        """The model's serialized form, kept where it has one: an equal model can be built where this one is gone."""
        return None if self._architecture is None else json.loads(zlib.decompress(self._architecture))

    def when_left(self, callback: Callable[[Run], None]) -> None:
        """Has `callback` called where the fit raised, once its exception has been dealt with: nobody else says so."""
        callback_list = self.callback_list
        if callback_list is not None:
            self._left = weakref.finalize(callback_list, callback, self)
            self._left.atexit = False

    def end(self) -> Held | None:
        """The fit is traced no more. Returns what keeps its model."""
        if self._left is not None:
            self._left.detach()
        self._list = self._left = None
        held, self._during = self._during, None
        if held is None:
            return self._held()
        self.shapes = shapes_of(held.model)
        self.computed_by = computed(held.model)
        held.compiled = {name: getattr(held.model, name, None) for name in COMPILED}
        self._parts = {name: _weakly(part) for name, part in held.compiled.items()}
        if self.recorder.architecture is not None:
            self._architecture = zlib.compress(json.dumps(self.recorder.architecture).encode())
            self.recorder.architecture = None
        return held


def shapes_of(model: Any) -> list[tuple[int, ...]] | None:
    """Of a model's variables; None for a model of an unusual kind."""
    try:
        return [tuple(v.shape) for v in model.variables]
    except Exception as error:
        let_through(error)
        return None


def computed(model: Any) -> dict[str, str] | None:
    """What a model's values in the logs are computed by; None for a model of an unusual kind."""
    try:
        return computed_by(model)
    except Exception as error:
        let_through(error)
        return None


def _none() -> None:
    return None


def _weakly(part: Any) -> Callable[[], Any]:
    if part is None:
        return _none
    try:
        return weakref.ref(part)
    except TypeError:
        return lambda: part


def not_held(value: Any) -> Callable[[], Any]:
    """Gives it while somebody else holds it."""
    try:
        return weakref.ref(value)
    except TypeError:
        return _none
