"""Builds ledgers: values by replay, shares by Shapley, and what is left over as the residual."""

from __future__ import annotations

import math
from collections.abc import Mapping

from diagnose.diagnosis import Ledger, LedgerEntry
from diagnose.ledger.factors import AFTER, AGGREGATION, CLASS_WEIGHTS, FACTORS, present, setting
from diagnose.ledger.shapley import shapley
from diagnose.replay.replayer import Replayer
from diagnose.trace.model import Epoch

NOISE = 1e-6
"""Relative size below which another batching is float rounding, not an aggregation that depends on the batches."""


def build_ledgers(replayer: Replayer, epoch: Epoch, evaluated: Mapping[str, float]) -> list[Ledger]:
    """One ledger per metric that was logged and can be replayed.

    Args:
        evaluated: what Keras's own `evaluate` returns with the weights after fit.

    Raises:
        ReplayError: weights or rows of this epoch are not in the trace.
    """
    steps = replayer.trace.index.steps_of(epoch.epoch)
    found = present(replayer, epoch, steps)

    def values(walked: frozenset[str]) -> dict[str, float]:
        return replayer.value(setting(walked, replayer.kinds), epoch.epoch)

    everything = frozenset(found)
    start, end = values(frozenset()), values(everything)
    ledgers = []
    for metric, logged in epoch.logs.items():
        if metric not in start or metric not in evaluated or not isinstance(logged, (int, float)):
            continue
        factors = found
        if AGGREGATION in found and _noise(end[metric], values(everything - {AGGREGATION})[metric]):
            factors = tuple(f for f in found if f != AGGREGATION)
        shares = shapley(factors, AFTER, lambda walked, m=metric: values(walked)[m])  # type: ignore[misc]
        gap = evaluated[metric] - float(logged)
        entries = tuple(
            LedgerEntry(s.factor, s.amount, s.low, s.high)
            for s in sorted(shares, key=lambda s: FACTORS.index(s.factor))
            if s.factor != CLASS_WEIGHTS
            or s.low != 0.0
            or s.high != 0.0  # metrics not compiled as weighted ignore weights
        )
        residual = math.fsum([gap, *(-e.amount for e in entries)])
        ledgers.append(Ledger(epoch.epoch, metric, float(logged), evaluated[metric], gap, entries, residual))
    return ledgers


def _noise(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= NOISE * max(abs(a), abs(b), 1e-6)
