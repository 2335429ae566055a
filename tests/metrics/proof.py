"""Traced fits held against Keras itself: `evaluate` of an untraced copy, History, and the arithmetic of ledgers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.result.diagnosis import Diagnosis, Ledger

FLOAT32 = 1e-5
"""Largest residual, relative to the larger of the two values, in a model that computes in float32."""


@dataclass(frozen=True)
class Proof:
    """One fit, what the tool says of it, and what Keras says of a copy with the same weights."""

    model: Any
    copy: Any
    history: Mapping[str, list[Any]]
    expected: Mapping[str, Any]
    diagnosis: Diagnosis
    epochs: int
    batches: int

    def ledger(self, metric: str) -> Ledger:
        """Of the last epoch."""
        (found,) = [x for x in self.diagnosis.ledgers if x.metric == metric and x.epoch == self.epochs]
        return found


def prove(
    folder: Path,
    make: Callable[[], Any],
    x: Any,
    y: Any,
    *,
    batch_size: int = 4,
    epochs: int = 2,
    **arguments: Any,
) -> Proof:
    """Fits `make()` traced, in order and with a short last batch, and evaluates a second `make()` untraced with the
    weights the first holds after fit."""
    keras.utils.set_random_seed(5)
    model = make()
    tracer = Tracer(folder / "fit.diag")
    data = {"batch_size": batch_size, "verbose": 0}
    fitted = model.fit(x, y, **data, epochs=epochs, shuffle=False, callbacks=[tracer], **arguments)
    diagnosis = tracer.diagnose()
    rows = len(keras.tree.flatten(x)[0])
    copy = make()
    if not copy.built:
        copy.evaluate(x, y, **data)
    copy.set_weights(model.get_weights())
    _copy_states(model, copy)
    expected = copy.evaluate(x, y, **data, return_dict=True)
    return Proof(model, copy, fitted.history, expected, diagnosis, epochs, math.ceil(rows / batch_size))


def _copy_states(model: Any, copy: Any) -> None:
    """What stateful layers carry from batch to batch is none of the weights."""
    for one, other in zip(model._flatten_layers(), copy._flatten_layers(), strict=True):
        if getattr(one, "stateful", False):
            for value, variable in zip(keras.tree.flatten(one.states), keras.tree.flatten(other.states), strict=True):
                variable.assign(value)


def assert_replayed(proof: Proof) -> None:
    """Every step came out as recorded."""
    replay = proof.diagnosis.replay
    assert replay is not None and replay.reason is None, proof.diagnosis.notice
    assert (replay.steps, replay.reproduced) == (proof.epochs * proof.batches,) * 2
    assert replay.epochs == tuple(range(1, proof.epochs + 1))


def assert_explained(
    proof: Proof, metric: str, *, residual: float = FLOAT32, evaluated: float = 2e-6, exact: bool = False
) -> Ledger:
    """The ledger of the last epoch goes from History to Keras's own `evaluate`, and adds up.

    Args:
        residual, evaluated: largest relative errors.
        exact: no error but float64 rounding.
    """
    ledger = proof.ledger(metric)
    logged, expected = float(proof.history[metric][-1]), float(proof.expected[metric])
    scale = max(abs(logged), abs(expected))
    rounding = 16 * np.finfo(np.float64).eps * max(1.0, scale)
    assert ledger.logged == logged, (metric, ledger.logged, logged)
    allowed = expected if exact else pytest.approx(expected, rel=evaluated, abs=1e-7)
    assert ledger.evaluated == allowed, (metric, ledger.evaluated, expected)
    assert ledger.gap == ledger.evaluated - ledger.logged
    assert len({e.factor for e in ledger.entries}) == len(ledger.entries)
    assert all(e.low - rounding <= e.amount <= e.high + rounding for e in ledger.entries)
    assert math.fsum([*(e.amount for e in ledger.entries), ledger.residual]) == pytest.approx(
        ledger.gap, rel=0, abs=rounding
    )
    assert abs(ledger.residual) <= (rounding if exact else residual * max(scale, 1e-3)), ledger
    check = proof.diagnosis.replay
    assert check is not None
    error = check.max_abs_error[metric]
    assert error <= (0.0 if exact else residual * max(scale, 1e-3)), (metric, error)
    if not any(e.factor == "restored-weights" for e in ledger.entries):
        last = proof.diagnosis.epoch_rows[-1].reevaluated[metric]
        allowed = expected if exact else pytest.approx(expected, rel=residual, abs=1e-7)
        assert last == allowed, (metric, last, expected)
    return ledger


def assert_everything_explained(proof: Proof, *, exact: Collection[str] = (), **tolerances: float) -> dict[str, Ledger]:
    """As `assert_explained`, for every number of the history; none is missing."""
    assert_replayed(proof)
    logged = {name for name, values in proof.history.items() if np.ndim(values[-1]) == 0}
    assert {x.metric for x in proof.diagnosis.ledgers if x.epoch == proof.epochs} == logged
    return {name: assert_explained(proof, name, exact=name in exact, **tolerances) for name in sorted(logged)}


def factors(ledger: Ledger) -> set[str]:
    """Those that move the number."""
    return {e.factor for e in ledger.entries if e.amount}
