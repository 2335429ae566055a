"""Models that update with optimizers of their own beside the compiled one: their state is recorded, and every step that
depends on it is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.frameworks.keras.optimizers import own_optimizers, variables_of
from tests.replay.fits import BACKEND, rows

pytestmark = pytest.mark.skipif(BACKEND != "tensorflow", reason="own steps take gradients in another way there")


class Adversaries(keras.Model):
    """The second loss is computed after the first update: it depends on the first optimizer's slots."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        self.judge = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.of_maker, self.of_judge = keras.metrics.Mean(name="maker"), keras.metrics.Mean(name="judge")

    def compile(self, maker: Any, judge: Any) -> None:
        super().compile()
        self.optimizers_by_part = {"maker": maker, "judge": judge}

    @property
    def metrics(self) -> list[Any]:
        return [self.of_maker, self.of_judge]

    def train_step(self, data: Any) -> Any:
        import tensorflow as tf

        x, y = data
        for part, name, metric in ((self.judge, "judge", self.of_judge), (self.maker, "maker", self.of_maker)):
            with tf.GradientTape() as tape:
                wrong = keras.ops.mean((self.judge(self.maker(x)) - (y if name == "judge" else -y)) ** 2)
            weights = part.trainable_variables
            self.optimizers_by_part[name].apply_gradients(zip(tape.gradient(wrong, weights), weights, strict=True))
            metric.update_state(wrong)
        return {"maker": self.of_maker.result(), "judge": self.of_judge.result()}


def adversaries() -> Any:
    keras.utils.set_random_seed(4)
    model = Adversaries()
    model.compile(keras.optimizers.Adam(0.05), keras.optimizers.RMSprop(0.02, momentum=0.5))
    return model


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Path]]:
    """Two fits, one after the other: the second begins with optimizers that have been used."""
    folder = tmp_path_factory.mktemp("fits")
    model, found = adversaries(), []
    x, y = rows(12)
    for number in (1, 2):
        tracer = Tracer(folder / f"{number}.diag")
        model.fit(x, y, epochs=2, batch_size=4, verbose=0, callbacks=[tracer])
        found.append((tracer.diagnose(epochs="all"), folder / f"{number}.diag"))
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_every_step_is_reproduced(fits: list[tuple[Any, Path]], number: int) -> None:
    replay = fits[number - 1][0].replay
    assert (replay.steps, replay.reproduced) == (6, 6)


def test_their_variables_are_recorded_and_said_to_be_their_own(fits: list[tuple[Any, Path]]) -> None:
    model = adversaries()
    x, y = rows(12)
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    plain = [v.numpy() for o in model.optimizers_by_part.values() for v in o.variables]
    trace = read_trace(fits[0][1])
    roles = [v.role for v in trace.header.optimizer_variables]
    assert roles.count("own") == len(plain)
    final = trace.final
    assert final is not None and final.optimizer_arrays is not None
    kept = [trace.array(d) for d, role in zip(final.optimizer_arrays, roles, strict=True) if role == "own"]
    for ours, theirs in zip(kept, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_state_before_the_first_step_is_recorded_where_it_is_not_that_of_new_ones(
    fits: list[tuple[Any, Path]],
) -> None:
    first, second = (read_trace(path) for _, path in fits)
    assert [s for s in first.states if s.label == "start"] == []
    (start,) = (s for s in second.states if s.label == "start")
    assert first.final is not None
    assert start.optimizer_arrays == first.final.optimizer_arrays
    assert start.arrays == first.final.arrays


def test_the_compiled_one_and_its_parts_are_not_the_models_own() -> None:
    inner = keras.optimizers.SGD(0.1)
    outer = keras.optimizers.LossScaleOptimizer(inner)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(outer, "mse")
    model.kept = [inner]
    assert own_optimizers(model) == []
    model.other = keras.optimizers.Adam()
    assert own_optimizers(model) == [model.other]
    assert {id(v) for v in variables_of(model)} == {id(v) for o in (model.other, outer) for v in o.variables}
