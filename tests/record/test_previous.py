"""What is remembered of earlier fits, and what each variable of an optimizer is."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.record import previous
from diagnose.record.previous import MOST_EPOCHS, MOST_FITS, Start, StartItem, roles
from diagnose.tracefile.digest import array_digest

ROLES = [{"role": "iterations"}, {"role": "learning_rate"}, {"role": "slot"}]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previous, "_FITS", type(previous._FITS)(maxlen=MOST_FITS))


def optimizer(iterations: int, rate: float = 0.1, slot: float = 0.0) -> list[np.ndarray]:
    return [np.array(iterations), np.array(rate, "float32"), np.full(3, slot, "float32")]


def weights(number: int) -> tuple[bytes, bytes]:
    return (number.to_bytes(16, "little"), bytes(16))


def begin(name: str, at: int, arrays: list[np.ndarray], identity: int = 1, rate: float = 0.1) -> tuple[Start, Any]:
    start = Start(name)
    start.set_settings({"optimizer": {"class": "SGD", "config": {"name": f"sgd_{name}", "learning_rate": rate}}})
    start.set_roles(ROLES)
    item = StartItem(arrays, ROLES, identity)
    return start, start.begin(item, [array_digest(a) for a in arrays], weights(at))


def epoch(start: Start, number: int, at: int, arrays: list[np.ndarray], loss: float = 1.0) -> None:
    start.epoch((number, 4 * number), arrays, [array_digest(a) for a in arrays], weights(at), {"loss": loss})


def test_finds_the_epoch_and_both_states_of_the_optimizer() -> None:
    first, said = begin("a", 0, optimizer(0))
    assert said == {"iterations": 0, "learning_rate": pytest.approx(0.1), "slots": 1, "updates": None, "previous": None}
    for n in (1, 2, 3):
        epoch(first, n, n, optimizer(4 * n, 0.1 / n, slot=n), loss=1 / n)
    _, said = begin("b", 2, optimizer(12, 0.1 / 3, slot=3))
    found = said["previous"]
    assert (found["trace"], found["epoch"], found["version"], found["last_epoch"]) == ("a", 2, 8, 3)
    assert (found["logs"], found["next_logs"]) == ({"loss": 0.5}, {"loss": 1 / 3})
    assert (found["then"]["iterations"], found["then"]["same"]) == (8, False)
    assert (found["end"]["iterations"], found["end"]["same"]) == (12, True)
    assert (found["same_optimizer"], found["same_settings"]) == (True, True)


def test_another_optimizer_object_and_other_settings() -> None:
    begin("a", 0, optimizer(4, slot=1.0))
    found = begin("b", 0, optimizer(0), identity=2, rate=0.5)[1]["previous"]
    assert (found["same_optimizer"], found["same_settings"]) == (False, False)


def test_before_its_first_update_an_optimizer_may_have_no_variables_yet() -> None:
    begin("a", 0, optimizer(0))
    start = Start("b")
    unbuilt = optimizer(0)[:2]
    found = start.begin(StartItem(unbuilt, ROLES[:2], 2), [array_digest(a) for a in unbuilt], weights(0))["previous"]
    assert found["then"]["same"] is True


def test_the_moment_whose_optimizer_is_the_same_counts_before_later_ones() -> None:
    first, _ = begin("a", 0, optimizer(0))
    epoch(first, 1, 7, optimizer(4, slot=1))
    second, _ = begin("b", 1, optimizer(0))
    epoch(second, 1, 7, optimizer(9, slot=2))
    assert begin("c", 7, optimizer(4, slot=1))[1]["previous"]["trace"] == "a"
    assert begin("d", 7, optimizer(5, slot=5))[1]["previous"]["trace"] == "b"


def test_the_first_moment_is_not_forgotten_where_no_update_changes_the_weights() -> None:
    """The same model built anew begins as that one did, and not as it ended."""
    first, _ = begin("a", 5, optimizer(0))
    for n in range(1, 8):
        epoch(first, n, 5, optimizer(4 * n, slot=n))
    found = begin("b", 5, optimizer(0), identity=2)[1]["previous"]
    assert (found["epoch"], found["then"]["iterations"]) == (0, 0)
    assert begin("c", 5, optimizer(28, slot=7))[1]["previous"]["epoch"] == 7
    assert len(previous._FITS[0].moments[weights(5)]) == previous.MOST_MOMENTS


def test_memory_is_bounded() -> None:
    start, _ = begin("a", 0, optimizer(0))
    for n in range(1, MOST_EPOCHS + 50):
        epoch(start, n, n, optimizer(n))
    (fit,) = previous._FITS
    assert len(fit.epochs) == MOST_EPOCHS
    assert sum(map(len, fit.moments.values())) == MOST_EPOCHS
    for n in range(MOST_FITS + 3):
        begin(f"b{n}", 10**6 + n, optimizer(0))
    assert len(previous._FITS) == MOST_FITS
    assert begin("c", 1, optimizer(0))[1]["previous"] is None


def test_roles() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True), "mse")
    model.optimizer.build(model.trainable_variables)
    found = roles(model)
    assert len(found) == len(model.optimizer.variables)
    assert [r["role"] for r in found[:2]] == ["iterations", "learning_rate"]
    averages = {r["of"]: v for r, v in zip(found, model.optimizer.variables, strict=True) if r["role"] == "average"}
    expected = [i for i, v in enumerate(model.variables) if any(v is t for t in model.trainable_variables)]
    assert sorted(averages) == expected
    assert all(tuple(averages[i].shape) == tuple(model.variables[i].shape) for i in averages)
    assert [r["role"] for r in found].count("slot") == len(model.trainable_variables)
