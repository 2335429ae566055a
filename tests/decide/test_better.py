"""Against Keras's own EarlyStopping, driven with the same values."""

from __future__ import annotations

import math
from typing import Any

import keras
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnose.decide.better import best, better, choose, ranked


class Model:
    """What EarlyStopping needs of one; its weights are the epoch's number."""

    stop_training = False
    epoch = 0

    def get_weights(self) -> list[int]:
        return [self.epoch]

    def set_weights(self, weights: list[int]) -> None:
        self.epoch = weights[0]


def restored(values: list[float | None], **arguments: Any) -> int | None:
    callback = keras.callbacks.EarlyStopping("m", patience=1000, restore_best_weights=True, **arguments)
    model = Model()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.epoch = epoch + 1
        callback.on_epoch_end(epoch, {"m": value})
    kept = callback.best_weights
    return None if kept is None else kept[0]


value = st.one_of(st.none(), st.just(math.nan), st.floats(-4, 4, width=32), st.sampled_from([0.5, 1.0, 1.5]))


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(value, min_size=1, max_size=12),
    mode=st.sampled_from(["min", "max"]),
    min_delta=st.sampled_from([0.0, 0.25, -0.5, 1.0]),
    start=st.integers(0, 5),
)
def test_chooses_as_keras_does(values: list[float | None], mode: str, min_delta: float, start: int) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a value that is missing
        expected = restored(values, mode=mode, min_delta=min_delta, start_from_epoch=start)
    logged = [(i + 1, float(v)) for i, v in enumerate(values) if v is not None]
    assert choose(logged, mode, {"min_delta": min_delta, "start_from_epoch": start}) == expected


def test_settings_as_recorded_after_fit_have_a_signed_delta() -> None:
    values = [(1, 1.0), (2, 0.9), (3, 0.4)]
    assert choose(values, "min", {"min_delta": -0.5}) == choose(values, "min", {"min_delta": 0.5}) == 3
    assert choose(values, None, {}) is None


def test_the_first_of_equals_is_the_best_and_nan_is_none() -> None:
    values = [(1, math.nan), (2, 0.5), (3, 0.25), (4, 0.25), (5, 2.0)]
    assert best(values, "min") == (3, 0.25) and best(values, "max") == (5, 2.0)
    assert [epoch for epoch, _ in ranked(values, "min")] == [3, 4, 2, 5]
    assert best([(1, math.nan)], "min") is None and best(values, None) is None
    assert not better(0.5, math.nan, "min") and not better(math.nan, 0.5, "max")


def test_values_that_float32_cannot_tell_apart_are_equal_as_they_are_to_keras() -> None:
    values = [1.0, 1.0 - 1e-12]
    assert restored([*values], mode="min") == 1
    assert best([(1, values[0]), (2, values[1])], "min") == (1, 1.0)
