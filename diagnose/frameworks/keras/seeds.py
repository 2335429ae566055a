"""Keras's global seed generator, from which every random operation without a seed draws
(`keras/src/random/seed_generator.py`). It belongs to no model, and is made when it is first needed."""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from diagnose.frameworks.keras.releases import loaded

_NAME = "global_seed_generator"


def _held() -> Any:
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute(_NAME)


def _hold(generator: Any) -> None:
    from keras.src.backend.common import global_state

    global_state.set_global_attribute(_NAME, generator)


def seed_variable() -> Any:
    """The variable that holds the state of the generator, or None where nothing made it yet."""
    generator = _held()
    return None if generator is None else generator.state


def global_seed() -> tuple[int, int] | None:
    """The state of the generator, or None where nothing made it yet. Makes none: that would draw from Python's own."""
    generator = None if loaded() is None else _held()
    return None if generator is None else _state_of(generator)


def _state_of(generator: Any) -> tuple[int, int]:
    held = generator.state.value
    if hasattr(held, "detach"):  # torch, which may hold it on a device
        held = held.detach().cpu()
    # Not by Keras's convert_to_numpy, which may warn of NumPy 2 where the user's own run would not.
    first, second = (int(n) for n in (held.numpy() if hasattr(held, "numpy") else np.asarray(held)))
    return first, second


_MOST_DRAWS: Final = 1000

_DRAWN_FROM: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""The generator that a model's steps were seen to draw from last."""


class SeedBefore:
    """The state of the generator before a step: of the one that there is, or of the one that was there when the step
    was traced, as `set_random_seed` takes it away and a traced step goes on with it."""

    def __init__(self) -> None:
        self.state: tuple[int, int] | None = None
        self._python: Any = None
        self._earlier: Any = None

    def look(self, model: Any, *, first: bool) -> None:
        """Before the step; `first`: it may be the one that makes the generator."""
        self.state = global_seed()
        self._python = random.getstate() if first and self.state is None else None
        earlier = _DRAWN_FROM.get(model)
        self._earlier = None if earlier is None or earlier is _held() else (earlier, _state_of(earlier))

    def look_back(self, model: Any) -> None:
        """After the step."""
        python, self._python = self._python, None
        earlier, self._earlier = self._earlier, None
        generator = _held()
        if earlier is not None and _state_of(earlier[0]) != earlier[1]:
            self.state = earlier[1]
            return
        if python is not None and generator is not None:
            self.state = _made_with(python, generator)
        if generator is not None and _state_of(generator) != self.state:
            _DRAWN_FROM[model] = generator


def _made_with(python: Any, generator: Any) -> tuple[int, int] | None:
    """What a generator began with that was made since Python's own was in this state: one of the numbers that it gave
    then (`make_default_seed`), and the one from which draws lead to what the generator holds now."""
    now = np.array(_state_of(generator), str(generator.state.dtype))
    again = random.Random()
    again.setstate(python)
    seeds = np.array([again.randint(1, int(1e9)) for _ in range(_MOST_DRAWS)])
    states = np.stack([seeds, np.zeros_like(seeds)], axis=1).astype(now.dtype)
    for _ in range(_MOST_DRAWS):
        found = np.flatnonzero((states == now).all(axis=1))
        if found.size:
            return int(seeds[found[0]]), 0
        with np.errstate(over="ignore"):
            states = (states + now.dtype.type(1)) * now.dtype.type(5387) % now.dtype.type(933199)  # as `next`
    return None


@contextlib.contextmanager
def global_seed_apart() -> Iterator[None]:
    """Within: one and the same generator, for functions that are traced with it. After: as before."""
    with global_seed_set(None):
        if _held() is None:
            _made()
        yield


@contextlib.contextmanager
def global_seed_set(state: Sequence[int] | None) -> Iterator[None]:
    """Within: the generator in this state (None: in that it is in). After: in the state it was in, or, where there was
    none, gone."""
    known = _held()
    before = global_seed()
    try:
        if state is not None:
            _made().state.assign(list(state))
        yield
    finally:
        if before is not None:
            known.state.assign(list(before))
        _hold(known)


def _made() -> Any:
    from keras.src.random.seed_generator import global_seed_generator

    drawn = random.getstate()
    try:
        return global_seed_generator()
    finally:
        random.setstate(drawn)
