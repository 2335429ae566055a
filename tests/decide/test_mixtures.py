"""Averages of recorded weights, told by content; each is computed by NumPy from copies that a callback of the test
kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.decide.mixtures import Mixture, mixture_of
from diagnose.tracefile.reader import Trace, read_trace
from tests.rules.runs import Seen, fit

Weights = list[np.ndarray]


class Updates(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.after: list[Weights] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.after.append([np.array(w) for w in self.model.get_weights()])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.on_train_begin()


@pytest.fixture(scope="module")
def run() -> Iterator[tuple[Seen, list[Weights], Trace]]:
    updates = Updates()
    layers = (keras.layers.Dense(5, activation="tanh"), keras.layers.BatchNormalization())
    seen = fit(updates, epochs=6, layers=layers, validation=True)
    with read_trace(seen.path) as trace:
        yield seen, updates.after, trace


def mean(of: list[Weights]) -> Weights:
    return [np.mean(parts, axis=0, dtype="float32") for parts in zip(*of, strict=True)]


def moving(of: list[Weights], momentum: float) -> Weights:
    shadow = of[0]
    for each in of[1:]:
        shadow = [np.float32(momentum) * a + np.float32(1 - momentum) * b for a, b in zip(shadow, each, strict=True)]
    return shadow


def told(trace: Trace, held: Weights) -> Mixture | None:
    places = [i for i, v in enumerate(trace.header.variables) if v.group in ("trainable", "non_trainable")]
    order = {v.path: i for i, v in enumerate(trace.header.variables)}
    assert len(order) == len(trace.header.variables)
    return mixture_of(trace, dict(zip(places, held, strict=True)))


def test_means_of_ends_of_epochs(run: Any) -> None:
    seen, _, trace = run
    ends = seen.witness.weights
    for epochs in ((4, 5, 6), (2, 3), (1, 3, 6)):
        found = told(trace, mean([ends[e - 1] for e in epochs]))
        assert found is not None and (found.kind, found.of, found.members) == ("mean", "epochs", epochs)
    assert str(found.text) == "the mean of the weights at the ends of epochs 1, 3 and 6" + (
        f" (the 3 with the {'smallest' if found.best[1] == 'min' else 'largest'} {found.best[0]})" if found.best else ""
    )


def test_the_best_epochs_are_said_to_be_them(run: Any) -> None:
    seen, _, trace = run
    losses = [log["val_loss"] for log in seen.witness.logs]
    worst = sorted(np.argsort(losses)[-2:])
    found = told(trace, mean([seen.witness.weights[i] for i in worst]))
    assert found is not None and found.members == tuple(int(i) + 1 for i in worst)
    assert found.best is not None and found.best[0].startswith("val_")


def test_moving_averages(run: Any) -> None:
    seen, updates, trace = run
    ends = seen.witness.weights
    for of, first, momentum, held in (
        ("epochs", 1, 0.7, moving(ends, 0.7)),
        ("epochs", 0, 0.35, moving([updates[0], *ends], 0.35)),
        ("updates", 0, 0.9, moving(updates, 0.9)),
        ("updates", 1, 0.99, moving(updates[1:], 0.99)),
    ):
        found = told(trace, held)
        assert found is not None and (found.kind, found.of, found.momentum) == ("moving", of, momentum)
        assert found.members == tuple(range(first, (6 if of == "epochs" else 24) + 1))


def ramped(of: list[Weights], momentum: Any) -> Weights:
    shadow = of[0]
    for n, each in enumerate(of[1:]):
        m = np.float32(momentum(n))
        shadow = [m * a + (np.float32(1) - m) * b for a, b in zip(shadow, each, strict=True)]
    return shadow


@pytest.mark.parametrize(
    ("momentum", "ramp", "cap"),
    [
        (lambda n: (1 + n) / (10 + n), "(1 + n) / (10 + n)", None),
        (lambda n: min(0.9, (2 + n) / (11 + n)), "(1 + n) / (10 + n)", None),  # 24 updates do not come to 0.9
        (lambda n: 1 - (2 + n) ** (-2 / 3), "1 - (1 + n) ** (-2 / 3)", None),
        (lambda n: min(0.9, n / (n + 1)), "n / (n + 1)", 0.9),
        (lambda n: 1 - 0.004 * (np.cos(np.pi * n / 24) + 1) / 2, "1 - 0.004 * (cos(pi * n / N) + 1) / 2", None),
    ],
    ids=["TensorFlow's", "from 1", "timm's", "a teacher's", "BYOL's"],
)
def test_moving_averages_with_a_momentum_that_grows(run: Any, momentum: Any, ramp: str, cap: float | None) -> None:
    _, updates, trace = run
    found = told(trace, ramped(updates, momentum))
    assert found is not None and (found.kind, found.of, found.ramp, found.momentum) == ("moving", "updates", ramp, cap)
    assert found.members[-1] == 24 and ramp in str(found.text)
    assert ("at most 0.9" in str(found.text)) == (cap is not None)


def test_a_mean_of_the_last_updates(run: Any) -> None:
    _, updates, trace = run
    found = told(trace, mean(updates[20:]))
    assert found is not None and (found.kind, found.of, found.members) == ("mean", "updates", (20, 21, 22, 23, 24))


def test_what_is_no_average_is_none(run: Any) -> None:
    seen, updates, trace = run
    ends = seen.witness.weights
    assert told(trace, ends[2]) is None and told(trace, updates[7]) is None
    near = mean(ends[2:5])
    near[0] = near[0] + np.float32(1e-4)
    assert told(trace, near) is None
    assert told(trace, [0.3 * a + 0.7 * b + np.float32(0.01) for a, b in zip(ends[0], ends[5], strict=True)]) is None
    assert told(trace, [np.full_like(w, np.nan) for w in ends[0]]) is None
