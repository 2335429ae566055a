"""Shares of a gap by the Shapley value over the admissible orders of a walk. Pure arithmetic.

Some factors can only be walked after others (weights drift after weights lag). The share of a factor is the mean of its
marginal amounts over all orders that respect this; low and high are the smallest and largest of these amounts.
Shapley, L. S. (1953), "A value for n-person games"; with precedence: Faigle and Kern (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """One factor's mean amount over the orders, and the lowest and highest over them."""

    factor: str
    amount: float
    low: float
    high: float


def shapley(
    factors: Sequence[str], after: Mapping[str, frozenset[str]], value: Callable[[frozenset[str]], float]
) -> tuple[Share, ...]:
    """Shares of `value(all factors) - value(none)`.

    Args:
        factors: names, at most 12 (every admissible set of them is valued once).
        after: for a factor, the factors (among `factors`) that must have been walked before it.
        value: the value with exactly these factors walked; only called for sets that are closed under `after`.
    """
    if len(factors) > 12:
        raise ValueError(f"{len(factors)} factors: too many to walk in every order")
    need = {f: after.get(f, frozenset()) & set(factors) for f in factors}
    up = _orders(frozenset(), list(factors), need)  # orders from a set to the full set
    everything = frozenset(factors)
    down: dict[frozenset[str], int] = {frozenset(): 1}  # orders from nothing to a set
    values = {closed: value(closed) for closed in up}
    amounts: dict[str, list[tuple[int, float]]] = {f: [] for f in factors}
    for closed in sorted(up, key=len):
        for f in factors:
            bigger = closed | {f}
            if f not in closed and bigger in up and need[f] <= closed:
                down[bigger] = down.get(bigger, 0) + down[closed]
                amounts[f].append((down[closed] * up[bigger], values[bigger] - values[closed]))
    total = up[frozenset()]
    assert down[everything] == total
    shares = []
    for f in factors:
        mean = exact_sum([count * amount for count, amount in amounts[f]]) / total
        each = [amount for _, amount in amounts[f]]
        shares.append(Share(f, mean, min(each), max(each)))
    return tuple(shares)


def exact_sum(terms: Sequence[float]) -> float:
    """Without rounding between the terms; where one is not finite, as float arithmetic has it (inf - inf is NaN)."""
    return math.fsum(terms) if all(map(math.isfinite, terms)) else sum(terms)


def _orders(start: frozenset[str], factors: list[str], need: Mapping[str, frozenset[str]]) -> dict[frozenset[str], int]:
    """For every set reachable from `start`: how many admissible orders lead from it to the full set."""
    known: dict[frozenset[str], int] = {}

    def count(closed: frozenset[str]) -> int:
        if closed not in known:
            steps = [closed | {f} for f in factors if f not in closed and need[f] <= closed]
            known[closed] = sum(count(bigger) for bigger in steps) if steps else 1
        return known[closed]

    count(start)
    return known
