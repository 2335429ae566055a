"""Builds ledgers: values by replay, shares by Shapley, and what is left over as the residual."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from diagnose.ledger.factors import AFTER, AGGREGATION, CLASS_WEIGHTS, FACTORS, present, setting
from diagnose.ledger.shapley import exact_sum, shapley
from diagnose.replay.replayer import PENALTIES, Replayer
from diagnose.result.diagnosis import Ledger, LedgerEntry, LossPart, LossSplit
from diagnose.tracefile import metric_state
from diagnose.tracefile.model import Epoch

NOISE = 1e-6
"""Relative size below which another batching is taken for float rounding, for metrics whose class does not tell."""

POOLED_NOISE = 1e-5
"""The same for metrics that are the same for any batches by their class: beyond it, the model is not."""


DRAWN: Final = 10
"""A gap that is not so many times larger than what evaluate's own draws make of a value has no ledger."""


def build_ledgers(
    replayer: Replayer, epoch: Epoch, evaluated: Mapping[str, float], drawn: Mapping[str, float] | None = None
) -> list[Ledger]:
    """One ledger per metric that was logged and can be replayed.

    Args:
        evaluated: what the framework's own `evaluate` returns with the weights after fit.
        drawn: where evaluate draws random numbers, by how much two of one batch differed, by metric. What differs
            between batches is then these draws, and no factor.

    Raises:
        ReplayError: weights or rows of this epoch are not in the trace.
    """
    steps = replayer.logged_steps(epoch.epoch)
    found = present(replayer, epoch, steps)

    def values(walked: frozenset[str]) -> dict[str, float]:
        return replayer.value(setting(walked, replayer.kinds), epoch.epoch)

    rest = tuple(f for f in found if f != AGGREGATION)
    start, end = values(frozenset()), values(frozenset(rest))
    ledgers = []
    carried = _carried(replayer)
    for metric, logged in epoch.logs.items():
        if metric in carried or metric not in start or metric not in evaluated or not isinstance(logged, (int, float)):
            continue
        factors = found
        if drawn:
            noise = drawn.get(metric, 0.0) / math.sqrt(max(1, len(replayer.evaluation)))
            if not abs(evaluated[metric] - float(logged)) > DRAWN * noise:
                continue
            factors = rest
        elif AGGREGATION in found:
            by_class = replayer.pools_rows and replayer.engine.pooled(metric)
            # What is the same for any batches need not be computed over other ones: the framework's evaluate did.
            other = evaluated[metric] if by_class else values(frozenset(found))[metric]
            if _close(end[metric], other, POOLED_NOISE if by_class else NOISE):
                factors = rest
        entries = _entries(factors, metric, values)
        gap = evaluated[metric] - float(logged)
        residual = exact_sum([gap, *(-e.amount for e in entries)])
        split = _split(factors, values) if metric == "loss" else None
        ledgers.append(Ledger(epoch.epoch, metric, float(logged), evaluated[metric], gap, entries, residual, split))
    return ledgers


def _carried(replayer: Replayer) -> set[str]:
    """Metrics that are not reset before each epoch: their values are of no epoch, and replay begins at a reset."""
    trace = replayer.trace
    first = [e.epoch for e in trace.epochs[:2]]
    if replayer.is_loop or trace.unrecorded.intersection(first):
        return set()
    slots = metric_state.layout(trace.header.metric_variables)
    return set(metric_state.carried(slots, [trace.index.steps_of(epoch) for epoch in first]).epochs)


Values = Callable[[frozenset[str]], Mapping[str, float]]


def _entries(factors: Sequence[str], metric: str, values: Values) -> tuple[LedgerEntry, ...]:
    shares = shapley(factors, AFTER, lambda walked: values(walked)[metric])
    return tuple(
        LedgerEntry(s.factor, s.amount, s.low, s.high)
        for s in sorted(shares, key=lambda s: FACTORS.index(s.factor))
        # A metric that was not compiled as weighted ignores weights; a train step of the model's own may do just what
        # its test step does.
        if s.factor not in (CLASS_WEIGHTS, "other-training-mode") or s.low != 0.0 or s.high != 0.0
    )


def _close(a: float, b: float, noise: float) -> bool:
    return a == b or (a != a and b != b) or abs(a - b) <= noise * max(abs(a), abs(b), 1e-6)


def _split(factors: Sequence[str], values: Values) -> LossSplit | None:
    """The walk of `loss`, for its two parts apart; None for a model without penalties."""
    start, end = values(frozenset()), values(frozenset(factors))
    if not start.get(PENALTIES) and not end.get(PENALTIES):
        return None
    penalties = LossPart(start[PENALTIES], end[PENALTIES], _entries(factors, PENALTIES, values))
    rest = _entries(factors, "loss", lambda walked: _data_loss(values(walked)))
    return LossSplit(LossPart(_data_loss(start)["loss"], _data_loss(end)["loss"], rest), penalties)


def _data_loss(values: Mapping[str, float]) -> dict[str, float]:
    return {"loss": values["loss"] - values[PENALTIES]}
