"""Has the level of one recording chosen: at the ends of epochs, and inside of one after 2, 4, 8, … of its steps. Runs
on the training thread."""

from __future__ import annotations

from diagnose.record.chooser import Bounds, choose
from diagnose.record.costs import Meter
from diagnose.tracefile.model import Json


class Choice:
    """Which levels a recording may have, what it takes, and how far its fit is.

    Args:
        level, most: the level that it begins with, which is the most.
        least, because: the least, and why it is not less (`tracefile.about.Policy`).
        overhead: the share of the fit's own time that recording its steps may take.
    """

    def __init__(self, level: int, least: int, overhead: float, because: str | None = None) -> None:
        self.meter = Meter(level)
        self.because = because
        self._bounds = Bounds(least, level, overhead)
        self._epochs: int | None = None
        self._steps: int | None = None

    @property
    def least(self) -> int:
        """The least level that may be chosen."""
        return self._bounds.least

    @property
    def policy(self) -> dict[str, Json]:
        """What the trace says of it."""
        least = {"least": self._bounds.least, "because": self.because} if self.because is not None else {}
        return {"overhead": self._bounds.overhead, **least}

    def at_least(self, level: int, because: str) -> None:
        """Less would not do for this fit."""
        bounds = self._bounds
        if level > bounds.least:
            self._bounds = Bounds(min(level, bounds.most), bounds.most, bounds.overhead)
            self.because = because

    def plan(self, epochs: int | None, steps: int | None) -> None:
        """So many epochs of so many steps are to come; None: not known."""
        self._epochs, self._steps = epochs, steps

    def inside(self, step: int, place: int) -> dict[str, Json] | None:
        """To be asked after `place` steps of an epoch, `step` of the fit: see `_asked`."""
        if place < 2 or place & (place - 1):
            return None
        return self._asked(step, self._left(step, self._steps), inside=True)

    def between(self, step: int, epochs: int) -> dict[str, Json] | None:
        """To be asked at the end of an epoch, after `epochs` of them and `step` steps: see `_asked`."""
        return self._asked(step, self._left(step, step // max(epochs, 1)), inside=False)

    def _left(self, step: int, steps: int | None) -> int | None:
        return None if self._epochs is None or steps is None else max(0, self._epochs * steps - step)

    def _asked(self, step: int, left: int | None, *, inside: bool) -> dict[str, Json] | None:
        """Where the level is to change, the detail of the event that says so (`tracefile.events.LevelChanged`)."""
        meter, bounds = self.meter, self._bounds
        meter.steps_left = left
        costs = meter.costs(step)
        level = choose(costs, bounds, inside=inside)
        if level == costs.level:
            return None
        return {
            "level": level,
            "before": costs.level,
            "own": costs.own.get(costs.level, 0.0),
            "fit": costs.step,
            "overhead": bounds.overhead,
        }
