"""Measures what recording takes of a fit: processor time of ours on the training thread and on the one that writes,
beside what the fit's own steps take. Decides nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from diagnose.record.chooser import Costs
from diagnose.record.encoder import Encoder
from diagnose.record.items import EventItem, Item, StepItem, StepsItem


@dataclass(slots=True)
class _Steps:
    """Seconds of so many steps. The longest of them is told apart: the one in which something was compiled."""

    seconds: float = 0.0
    count: int = 0
    longest: float = 0.0

    def add(self, seconds: float, steps: int = 1) -> None:
        self.seconds += seconds
        self.count += steps
        self.longest = max(self.longest, seconds / steps)

    def each(self) -> float:
        return (self.seconds - self.longest) / (self.count - 1) if self.count > 3 else self.seconds / self.count


@dataclass(slots=True)
class _Since:
    """When a row of steps began, in the sums of then."""

    wall: float
    processor: float
    ours: float
    writing: float
    step: int


class Meter:
    """The costs of one fit. The row of steps that is measured begins with `begin` and ends with `end`; what is ours
    between is told by `add`."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.steps_left: int | None = None
        self._ours = 0.0
        self._writing = 0.0
        self._own: dict[int, float] = {}
        self._now = _Steps()
        self._written: dict[int, _Steps] = {}
        self._since: _Since | None = None
        self._looked: _Since | None = None
        self._mixed = False
        self._last = 0.0
        self._pace = 0.0
        self._passed = 0.0
        self._spent = 0.0

    # ── on the training thread ──

    def add(self, seconds: float) -> None:
        """So much was ours."""
        self._ours += seconds

    def begin(self, step: int) -> None:
        """From here on there are steps only; `step` were done before."""
        self._now, self._mixed = _Steps(), False
        self._last = self._ours
        self._since, self._looked = self._here(step), None

    def _here(self, step: int) -> _Since:
        return _Since(time.perf_counter(), time.process_time(), self._ours, self._writing, step)

    def stepped(self) -> None:
        """What was ours since the last step belongs to this one."""
        if self._since is not None:
            self._now.add(self._ours - self._last)
            self._last = self._ours

    def end(self, step: int) -> None:
        """Something else than steps begins."""
        since = self._since
        if since is not None:
            passed = self._look(since, step)
            self._passed += passed
            self._spent += self._ours - since.ours + self._writing - since.writing
            self._since = None

    def _look(self, since: _Since, step: int) -> float:
        """Notes what a step takes by now. Returns what the fit's own part of the row took."""
        passed, steps = self._passed_since(since), step - since.step
        if steps > 0:
            self._pace = passed / steps
            looked = self._looked
            if looked is not None and step - looked.step > 1:
                # The first steps of a fit are slow, and would let pass for long what is too much.
                self._pace = min(self._pace, self._passed_since(looked) / (step - looked.step))
            written = self._written.get(self.level)
            # Where no hook of ours runs in a step, what is ours in the row is all there is of it.
            ours = self._ours - since.ours
            training = self._now.each() if self._now.count else None if self._mixed else ours / steps
            if training is not None:
                self._own[self.level] = training + (0.0 if written is None else written.each())
        return passed

    def _passed_since(self, since: _Since) -> float:
        """What was the fit's own since then: the smaller one of the time that passed, where several cores work, and
        processor time, where others keep this machine busy."""
        ours, writing = self._ours - since.ours, self._writing - since.writing
        passed = min(
            time.perf_counter() - since.wall - ours,
            time.process_time() - since.processor - ours - writing,
        )
        return max(passed, 0.0)

    def costs(self, step: int) -> Costs:
        """What was measured by now, after `step` steps."""
        passed, spent, since = self._passed, self._spent, self._since
        if since is not None:
            passed += self._look(since, step)
            spent += self._ours - since.ours + self._writing - since.writing
            self._looked = self._here(step)
        return Costs(self.level, dict(self._own), self._pace, spent, passed, self.steps_left)

    def change(self, level: int) -> None:
        """Steps are recorded at another level from here on."""
        self.level = level
        self._now, self._mixed, self._last = _Steps(), True, self._ours

    # ── on the background thread ──

    def wrote(self, seconds: float, level: int, steps: int) -> None:
        """So much was taken by one item: of so many steps, recorded at this level."""
        if steps:
            self._writing += seconds
            self._written.setdefault(level, _Steps()).add(seconds, steps)


class Metered:
    """An encoder whose time is measured, with all that its thread does between two items."""

    def __init__(self, encoder: Encoder, meter: Meter) -> None:
        self._encoder = encoder
        self._meter = meter
        self._level = meter.level
        self._last: float | None = None

    def handle(self, item: Item) -> bool:
        """See `Encoder`."""
        if self._last is None:
            self._last = time.thread_time()
        try:
            return self._encoder.handle(item)
        finally:
            now = time.thread_time()
            steps = item.count if isinstance(item, StepsItem) else int(isinstance(item, StepItem))
            self._meter.wrote(now - self._last, self._level, steps)
            self._last = now
            if isinstance(item, EventItem) and item.kind == "level":
                self._level = int(item.detail["level"])

    def closed(self) -> None:
        """See `Encoder`."""
        self._encoder.closed()
