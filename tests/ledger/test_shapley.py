"""Shares against brute force over all admissible orders, on games made up at random."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnose.ledger.shapley import Share, shapley

NAMES = ("a", "b", "c", "d", "e")
Game = tuple[tuple[str, ...], dict[str, frozenset[str]], dict[frozenset[str], float]]


@st.composite
def games(draw: st.DrawFn) -> Game:
    """Up to five factors, precedence without circles (names only wait for earlier names), and a value for every set."""
    factors = NAMES[: draw(st.integers(0, 5))]
    after = {f: frozenset(draw(st.sets(st.sampled_from(factors[:i])))) for i, f in enumerate(factors) if i}
    value = st.floats(-1e6, 1e6, allow_nan=False)
    values = {frozenset(c): draw(value) for n in range(len(factors) + 1) for c in itertools.combinations(factors, n)}
    return tuple(draw(st.permutations(factors))), after, values


def by_brute_force(
    factors: tuple[str, ...], after: Mapping[str, frozenset[str]], values: Mapping[frozenset[str], float]
) -> dict[str, list[float]]:
    """The amounts of each factor in every admissible order."""
    amounts: dict[str, list[float]] = {f: [] for f in factors}
    for order in itertools.permutations(factors):
        if all(after.get(f, frozenset()) <= set(order[:i]) for i, f in enumerate(order)):
            for i, f in enumerate(order):
                amounts[f].append(values[frozenset(order[: i + 1])] - values[frozenset(order[:i])])
    return amounts


def by_name(shares: tuple[Share, ...]) -> dict[str, Share]:
    return {s.factor: s for s in shares}


@given(games())
def test_shares_are_the_mean_over_all_admissible_orders(game: Game) -> None:
    factors, after, values = game
    shares = by_name(shapley(factors, after, values.__getitem__))
    amounts = by_brute_force(*game)
    assert set(shares) == set(factors)
    for factor, each in amounts.items():
        assert shares[factor].amount == pytest.approx(math.fsum(each) / len(each), rel=1e-9, abs=1e-6)
        assert (shares[factor].low, shares[factor].high) == (min(each), max(each))


@given(games())
def test_shares_add_up_to_the_whole(game: Game) -> None:
    factors, after, values = game
    whole = values[frozenset(factors)] - values[frozenset()]
    shares = shapley(factors, after, values.__getitem__)
    assert math.fsum(s.amount for s in shares) == pytest.approx(whole, rel=1e-9, abs=1e-6)


@given(games())
def test_an_amount_lies_between_its_low_and_high(game: Game) -> None:
    factors, after, values = game
    for share in shapley(factors, after, values.__getitem__):
        assert share.low - 1e-6 <= share.amount <= share.high + 1e-6


@given(games(), st.sampled_from(NAMES))
def test_a_factor_that_changes_nothing_gets_nothing(game: Game, dummy: str) -> None:
    factors, after, values = game
    shares = by_name(shapley(factors, after, lambda walked: values[walked - {dummy}]))
    if dummy in factors:
        assert (shares[dummy].amount, shares[dummy].low, shares[dummy].high) == (0.0, 0.0, 0.0)


@given(games())
def test_only_sets_that_the_order_allows_are_valued_and_each_once(game: Game) -> None:
    factors, after, values = game
    asked: list[frozenset[str]] = []

    def value(walked: frozenset[str]) -> float:
        asked.append(walked)
        return values[walked]

    shapley(factors, after, value)
    assert len(asked) == len(set(asked))
    assert all(after.get(f, frozenset()) <= walked for walked in asked for f in walked)


@given(games())
def test_the_order_in_which_factors_are_named_does_not_matter(game: Game) -> None:
    factors, after, values = game
    one = by_name(shapley(factors, after, values.__getitem__))
    other = by_name(shapley(tuple(reversed(factors)), after, values.__getitem__))
    for f in factors:
        assert one[f].amount == pytest.approx(other[f].amount, rel=1e-9, abs=1e-6)
        assert (one[f].low, one[f].high) == (other[f].low, other[f].high)


def test_two_factors_without_order_share_what_they_only_do_together() -> None:
    values = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 0.0, frozenset("ab"): 3.0}
    shares = by_name(shapley(("a", "b"), {}, values.__getitem__))
    assert (shares["a"].amount, shares["a"].low, shares["a"].high) == (2.0, 1.0, 3.0)
    assert (shares["b"].amount, shares["b"].low, shares["b"].high) == (1.0, 0.0, 2.0)


def test_a_factor_that_must_wait_gets_only_what_is_left() -> None:
    values = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("ab"): 3.0}
    shares = by_name(shapley(("a", "b"), {"b": frozenset("a")}, values.__getitem__))
    assert [(s.amount, s.low, s.high) for s in (shares["a"], shares["b"])] == [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)]


def test_waiting_for_a_factor_that_is_not_there_is_no_wait() -> None:
    (share,) = shapley(("b",), {"b": frozenset("a")}, lambda walked: float(len(walked)))
    assert share == Share("b", 1.0, 1.0, 1.0)


def test_thirteen_factors_are_too_many() -> None:
    with pytest.raises(ValueError, match="13 factors"):
        shapley([str(i) for i in range(13)], {}, lambda walked: 0.0)
