"""Keras's global seed generator: read without being made, set for a while, left as it was."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.frameworks.keras.seeds import SeedBefore, global_seed, global_seed_apart, global_seed_set


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


class Draws:
    """Stands for a model whose traced step goes on with the generator that it was traced with."""

    def __init__(self) -> None:
        drawn()
        from keras.src.random.seed_generator import global_seed_generator

        self.generator = global_seed_generator()

    def step(self) -> None:
        self.generator.next(ordered=False)


@pytest.mark.skipif(keras.config.backend() == "jax", reason="steps draw from no generator of this kind there")
def test_a_generator_made_within_a_step_is_found_among_other_draws() -> None:
    before = SeedBefore()
    model = Draws.__new__(Draws)
    before.look(model, first=True)
    keras.layers.Dropout(0.5)  # draws from Python's generator, too
    keras.random.SeedGenerator()
    expected = random.Random()
    expected.setstate(random.getstate())
    drawn()
    drawn()
    before.look_back(model)
    assert before.state == (expected.randint(1, int(1e9)), 0)


@pytest.mark.skipif(keras.config.backend() == "jax", reason="steps draw from no generator of this kind there")
def test_a_traced_step_goes_on_with_its_generator() -> None:
    model, before = Draws(), SeedBefore()
    before.look(model, first=True)
    model.step()
    before.look_back(model)
    state = global_seed()
    keras.utils.set_random_seed(2)
    before.look(model, first=True)
    assert before.state is None
    model.step()
    before.look_back(model)
    assert before.state == state
    drawn()
    now = global_seed()
    before.look(model, first=False)
    model.step()
    before.look_back(model)
    assert before.state not in (None, now)


def test_apart_there_is_one_generator_throughout() -> None:
    with global_seed_apart():
        with global_seed_set((5, 7)):
            first = drawn()
        with global_seed_set((5, 7)):
            assert np.array_equal(drawn(), first)
        assert global_seed() is not None
    assert global_seed() is None
