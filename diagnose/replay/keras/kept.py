"""What was compiled to replay a model, kept for the next analysis of the same model in this process: compiling is most
of what a replay of few steps costs. Used again only where `likeness` finds all that the compiler saw unchanged."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from diagnose.frameworks.keras.trainers import made_anew
from diagnose.replay.keras.likeness import likeness
from diagnose.tracefile.reader import Trace

MOST: Final = 8
"""Models (in one state of theirs each) of which it is kept; the ones used longest ago are let go first."""


@dataclass(slots=True)
class Made:
    """A function of Keras that runs train or test steps, and what a backend compiled of it, by what it was given."""

    run: Callable[..., Any]
    graphs: dict[Any, Callable[..., Any]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Kept:
    """Compiled functions of one model in one state. Nothing in it holds the model: what was compiled asks for the
    engine that is open (`engine`) when it has to be traced."""

    engine: Any = None
    seen: dict[int, Any] = field(default_factory=dict)
    """What the layers were called with in a plain training pass: see `LayerModes`."""
    steps: dict[Any, Callable[..., Any]] = field(default_factory=dict)
    loops: dict[Any, Callable[..., Any] | None] = field(default_factory=dict)
    results: Callable[..., Any] | None = None
    all_results: Callable[..., Any] | None = None
    made: dict[Any, Made] = field(default_factory=dict)

    def late(self, ask: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
        """A function to compile: the one that `ask` gives of the engine open by then."""

        def function(*arguments: Any) -> Any:
            return ask(self.engine)(*arguments)

        return function

    def made_for(self, key: Any, model: Any, *, training: bool, anew: bool = False) -> Made:
        """Keras's own function, made once; for `key`, which tells apart the sets of layers it is traced with."""
        if anew or (key, training) not in self.made:
            run, holds_model = made_anew(model, training=training)
            if holds_model:
                return Made(run)
            self.made[key, training] = Made(run)
        return self.made[key, training]


@dataclass(slots=True, eq=False)
class _Entry:
    model: weakref.ref[Any]
    likeness: list[Any]
    of_trace: Any
    kept: Kept


_entries: list[_Entry] = []
"""The one used last comes last."""


@contextlib.contextmanager
def kept_for(model: Any, trace: Trace, *, compiles: bool) -> Iterator[Kept]:
    """Within: what was compiled for this model as it is now, or a place to put it.

    Args:
        compiles: whether anything is compiled at all.
    """
    found = _found(model, _of_trace(trace)) if compiles else Kept()
    if found.engine is not None:  # open for another trace in the very moment
        found = Kept()
    try:
        yield found
    finally:
        if found.engine is not None and found.engine.draws_of_its_own():
            # Such operations count their calls: kept, they would not draw the next time what they drew this time.
            _entries[:] = [entry for entry in _entries if entry.kept is not found]
        found.engine = None


def _found(model: Any, of_trace: Any) -> Kept:
    looks = likeness(model)
    if looks is None:
        return Kept()
    _entries[:] = [entry for entry in _entries if entry.model() is not None]
    for entry in _entries:
        if entry.model() is model and entry.of_trace == of_trace and entry.likeness == looks:
            _entries.remove(entry)
            break
    else:
        entry = _Entry(weakref.ref(model), looks, of_trace, Kept())
        del _entries[: max(0, len(_entries) + 1 - MOST)]
    _entries.append(entry)
    return entry.kept


def _of_trace(trace: Trace) -> Any:
    """What of a trace decides what is compiled: which layers differ in training, and whose the steps are."""
    model, settings = trace.header.model, trace.header.compile
    return (
        tuple(layer.kind for layer in model.layers),
        bool(model.masking),
        bool(model.own_training),
        (settings.custom_train_step, settings.custom_test_step),
    )
