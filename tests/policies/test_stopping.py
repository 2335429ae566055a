"""Policies against Keras's own callbacks and against plain loops over the same values."""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnose.policies.log import Log
from diagnose.policies.stopping import (
    DynamicPatience,
    EarlyStopping,
    NoStopping,
    Outcome,
    ReduceLROnPlateau,
    Smoothed,
    Threshold,
    Unanswerable,
    Weighted,
    code,
)


class Model:
    """Its weights are the (1-based) epoch they were made in."""

    metrics: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.stop_training = False
        self.epoch = 0

    def get_weights(self) -> list[int]:
        return [self.epoch]

    def set_weights(self, weights: list[int]) -> None:
        (self.epoch,) = weights


def by_keras(values: list[float | None], first: int, **arguments: Any) -> tuple[int | None, int]:
    """The epoch after which Keras's callback stops (None: it does not), and the one whose weights the model has."""
    model, callback = Model(), keras.callbacks.EarlyStopping(monitor="m", **arguments)
    callback.set_model(model)
    stopped = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an epoch without the value
        callback.on_train_begin()
        for epoch, value in enumerate(values, first):
            model.epoch = epoch
            callback.on_epoch_end(epoch - 1, {} if value is None else {"m": value})
            if model.stop_training:
                stopped = epoch
                break
        callback.on_train_end()
    return stopped, model.epoch


def log(values: list[float | None], first: int = 1, planned: int | None = None, **more: list[float | None]) -> Log:
    epochs = tuple(range(first, first + len(values)))
    columns = {"m": values, **more}
    return Log(epochs, {k: tuple(v) for k, v in columns.items()}, planned=planned, modes={"m": "min", "loss": "min"})


# Few different values, so that ties, plateaus and differences below float32 are common.
number = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 0.5, 0.5 + 2e-8, 2.0, -1.0, math.nan, math.inf, -math.inf]),
    st.floats(-3, 3),
)


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), number, number, number), min_size=1, max_size=14),
    first=st.sampled_from([1, 1, 1, 4]),
    patience=st.integers(0, 4),
    min_delta=st.sampled_from([0.0, 0.0, 0.25, -0.25, 1e-9]),
    mode=st.sampled_from(["min", "max"]),
    baseline=st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0])),
    start_from_epoch=st.integers(0, 4),
    restore=st.booleans(),
)
def test_early_stopping_stops_and_restores_where_keras_does(
    values: list[float | None],
    first: int,
    patience: int,
    min_delta: float,
    mode: str,
    baseline: float | None,
    start_from_epoch: int,
    restore: bool,
) -> None:
    arguments: dict[str, Any] = dict(
        patience=patience, min_delta=min_delta, mode=mode, baseline=baseline, start_from_epoch=start_from_epoch
    )
    stopped, held = by_keras(values, first, restore_best_weights=restore, **arguments)
    policy = EarlyStopping(monitor="m", restore_best_weights=restore, **arguments)
    if all(value is None for value in values):
        with pytest.raises(Unanswerable):
            policy.replay(log(values, first))
        return
    found = policy.replay(log(values, first))
    last = found.stopped or first + len(values) - 1
    assert (found.stopped, found.restored or last) == (stopped, held)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=14),
    patience=st.integers(1, 4),
    mode=st.sampled_from(["min", "max"]),
)
def test_plateau_is_answerable_only_where_keras_would_not_lower_the_rate(
    values: list[float], patience: int, mode: str
) -> None:
    class Optimizer:
        learning_rate = 1.0

    model = Model()
    model.optimizer = Optimizer()  # type: ignore[attr-defined]
    callback = keras.callbacks.ReduceLROnPlateau(monitor="m", patience=patience, mode=mode)
    callback.set_model(model)
    callback.on_train_begin()
    lowered = None
    for epoch, value in enumerate(values, 1):
        callback.on_epoch_end(epoch - 1, {"m": value})
        if Optimizer.learning_rate != model.optimizer.learning_rate:  # type: ignore[attr-defined]
            lowered = epoch
            break
    policy = ReduceLROnPlateau(monitor="m", patience=patience, mode=mode)
    if lowered is None:
        assert policy.replay(log(list(values))) == Outcome(None)
    else:
        with pytest.raises(Unanswerable, match=f"learning rate after epoch {lowered}$"):
            policy.replay(log(list(values)))


def test_smoothed_value_decides_and_its_best_epoch_is_restored() -> None:
    values = [4.0, 1.0, 3.0, 3.0, 3.0]
    smooth, s = [], values[0]
    for value in values:
        s = 0.5 * value + 0.5 * s
        smooth.append(s)
    assert smooth == [4.0, 2.5, 2.75, 2.875, 2.9375]
    found = Smoothed(monitor="m", alpha=0.5, patience=2).replay(log(list(values)))
    assert found == Outcome(4, 2, 2.5, 2)


def test_patience_grows_with_the_best_epoch() -> None:
    values: list[float | None] = [5.0, 4.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0]
    assert DynamicPatience(monitor="m", patience=1, growth=0.5).replay(log(values)).stopped == 6  # waits 2 = 0.5 * 4
    assert DynamicPatience(monitor="m", patience=3, growth=0.5).replay(log(values)).stopped == 7
    assert DynamicPatience(monitor="m", patience=1, growth=0.5).replay(log(values, first=11)).stopped == 16


def test_weighted_sum_decides_and_incomplete_epochs_are_passed_over() -> None:
    accuracy: list[float | None] = [0.5, 0.9, None, 0.6, 0.6]
    loss: list[float | None] = [1.0, 0.8, 0.1, 0.7, 0.7]
    found = Weighted((("a", 1.0), ("loss", -1.0)), patience=2).replay(log(loss, a=accuracy, loss=loss))
    assert found == Outcome(5, 2, pytest.approx(0.1), 2)


@pytest.mark.parametrize(("op", "stopped"), [("<", 4), ("<=", 3), (">", None), (">=", 1)])
def test_threshold_stops_after_the_first_value_that_reaches_it(op: Any, stopped: int | None) -> None:
    values: list[float | None] = [0.5, None, 0.5, 0.4] if op == "<" else [0.6, 0.7, 0.5, 0.4]
    limit = {"<": 0.5, "<=": 0.5, ">": 0.9, ">=": 0.6}[op]
    found = Threshold("m", limit, op).replay(log(values))
    assert (found.stopped, found.restored) == (stopped, None)


def test_what_is_not_in_the_log_is_not_guessed() -> None:
    values: list[float | None] = [1.0, 2.0]
    with pytest.raises(Unanswerable, match="logged no 'val_loss'"):
        EarlyStopping().replay(log(values))
    with pytest.raises(Unanswerable, match="whether a larger 'f1' is better"):
        EarlyStopping(monitor="f1").replay(log(values, f1=values))
    known = Log((1, 2, 3), {}, {"loss": (1.0, None, 2.0)}, modes={"loss": "min"})
    with pytest.raises(Unanswerable, match="re-evaluated loss of epoch 2 is not known"):
        EarlyStopping(monitor="loss", reevaluated=True, patience=1).replay(known)
    assert NoStopping().replay(log(values)) == Outcome(None)


def test_code_reads_back() -> None:
    policy = EarlyStopping(monitor="m", patience=3, restore_best_weights=True)
    assert code(policy) == "EarlyStopping(monitor='m', patience=3, restore_best_weights=True)"
    assert eval(code(policy)) == policy
