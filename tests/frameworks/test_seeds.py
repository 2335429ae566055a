"""Keras's global seed generator: read without being made, set for a while, left as it was."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.frameworks.keras.seeds import global_seed, global_seed_set


@pytest.fixture(autouse=True)
def none_made() -> None:
    keras.utils.set_random_seed(1)  # takes the generator away


def drawn() -> Any:
    return np.array(keras.ops.convert_to_numpy(keras.random.normal((3,))))


def test_reading_makes_no_generator() -> None:
    before = random.getstate()
    assert global_seed() is None
    assert random.getstate() == before


def test_the_same_state_draws_the_same_numbers() -> None:
    drawn()
    state = global_seed()
    first = drawn()
    assert global_seed() != state
    with global_seed_set(state):
        assert np.array_equal(drawn(), first)


def test_the_state_after_is_the_one_before() -> None:
    drawn()
    state = global_seed()
    with global_seed_set((5, 7)):
        drawn()
    assert global_seed() == state


def test_where_there_was_no_generator_there_is_none_after() -> None:
    before = random.getstate()
    with global_seed_set((5, 7)):
        assert global_seed() == (5, 7)
    assert global_seed() is None
    assert random.getstate() == before
