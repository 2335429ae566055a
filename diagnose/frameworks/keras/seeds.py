"""Keras's global seed generator, from which every random operation without a seed draws
(`keras/src/random/seed_generator.py`). It belongs to no model, and is made when it is first needed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

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
    if generator is None:
        return None
    held = generator.state.value
    if hasattr(held, "detach"):  # torch, which may hold it on a device
        held = held.detach().cpu()
    # Not by Keras's convert_to_numpy, which may warn of NumPy 2 where the user's own run would not.
    first, second = (int(n) for n in (held.numpy() if hasattr(held, "numpy") else np.asarray(held)))
    return first, second


class SeedBefore:
    """The state of the generator before a step."""

    def __init__(self) -> None:
        self.state: tuple[int, int] | None = None
        self._drawn: Any = None

    def look(self, *, first: bool) -> None:
        """Before the step; `first`: it may be the one that makes the generator."""
        self.state = global_seed()
        self._drawn = random.getstate() if first and self.state is None else None

    def look_back(self) -> None:
        """After the step: one that was made within it began with the number that Python's generator gave next."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None and global_seed() is not None:
            python = random.Random()
            python.setstate(drawn)
            self.state = python.randint(1, int(1e9)), 0  # as `make_default_seed`


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
