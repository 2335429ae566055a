"""Chooses how much is recorded of a fit where nobody said: a function of what recording takes and of what the fit
itself takes. Measures nothing, and knows no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from diagnose.record.light import DIGESTS, INPUTS, METRICS, VERSIONS

FREE_SECONDS: Final = 0.1
"""What recording the steps of a fit may take in any case: for so little, nothing is given up."""

SHORT_SECONDS: Final = 3.0
"""A fit whose own steps are over by then is recorded in full."""

MARGIN: Final = 2.0
"""A level that costs more is taken up again only where it would cost less than what is allowed by this factor: two
measurements of one cost differ, and a level that changes at each end of an epoch would help nobody."""

SHARES: Final[Mapping[int, float]] = {VERSIONS: 1.0, DIGESTS: 0.6, METRICS: 0.4, INPUTS: 0.1}
"""About what each level takes of what the fullest takes: for those that were not measured yet in this fit."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be chosen: levels from `least` to `most`, and `overhead`, the share of the fit's own time that recording
    its steps may take."""

    least: int
    most: int
    overhead: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured of a fit until now, in seconds.

    `level`: that of now; `own`: what recording a step takes, by level, where it was measured; `step`: what the fit's
    own part of a step takes; `spent`: what recording the steps took by now, and `passed` what they took themselves;
    `left`: how many are still to come, None where that is not known."""

    level: int
    own: Mapping[int, float]
    step: float
    spent: float
    passed: float
    left: int | None


def choose(costs: Costs, bounds: Bounds, *, inside: bool) -> int:
    """The level to go on with. `inside` an epoch it only becomes less: of an epoch whose first steps were recorded in
    full, everything can be made again that can be of one which began with less.

    A level is taken where what it costs a step is within the share allowed; of several the fullest, of none the least.
    What costs more is given up only once it has cost something, and not in a fit that is over soon.
    """
    level = costs.level
    own = costs.own.get(level)
    if own is None or costs.step <= 0 or not bounds.least <= level <= bounds.most:
        return min(max(level, bounds.least), bounds.most)
    allowed = bounds.overhead * costs.step
    if own > allowed:
        if _for_free(costs, bounds):
            return level
        lower = range(level - 1, bounds.least - 1, -1)
        return next((each for each in lower if expected(costs.own, each) <= allowed), bounds.least)
    if inside:
        return level
    higher = range(bounds.most, level, -1)
    return next((each for each in higher if MARGIN * expected(costs.own, each) <= allowed), level)


def _for_free(costs: Costs, bounds: Bounds) -> bool:
    if bounds.overhead <= 0:
        return False
    # Of a fit whose end is not known, what is sure is that it took as long as it did.
    whole = costs.passed + (costs.left or 0) * costs.step
    return costs.spent <= FREE_SECONDS or whole <= SHORT_SECONDS


def expected(own: Mapping[int, float], level: int) -> float:
    """What a step would take at this level: as measured, else by its share of the nearest level that was, of those
    above before those below."""
    near = min(own, key=lambda known: (known < level, abs(known - level)))
    return own[near] * SHARES[level] / SHARES[near]
