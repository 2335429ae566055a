"""An observer that has what it takes measured, and goes on at the level that is chosen by that. Runs on the training
thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnose.record.backends.base import Backend
from diagnose.record.choice import Choice
from diagnose.record.observer import Observer
from diagnose.record.worker import Worker
from diagnose.tracefile.model import Json


class Measured(Observer):
    """Knows how far the fit is. Without a `choice` nothing is measured, and the level stays."""

    def __init__(self, model: Any, backend: Backend, worker: Worker, level: int, policy: Mapping[str, Json]) -> None:
        super().__init__(model, backend, worker, level, policy)
        self._batch_index = 0
        self._epochs = 0
        """How many have ended."""

    def steps_begin(self) -> None:
        """All callbacks ran their on_epoch_begin."""
        if self.choice is not None:
            self.choice.meter.begin(self.step)

    def steps_end(self) -> None:
        """The steps of the epoch are done, or something else comes between them."""
        if self.choice is not None:
            self._catch_up()
            self.choice.meter.end(self.step)

    def _catch_up(self, unfinished: int = 0) -> None:
        """Has all steps told that were made: see `Told`."""

    def _stepped(self, choice: Choice) -> None:
        choice.meter.stepped()
        if self.step == self._batch_index == 1:
            choice.meter.begin(self.step)  # the first of a fit compiles it, and has it described
        self._chosen(choice.inside(self.step, self._batch_index))

    def _between(self) -> None:
        """An epoch has ended."""
        self._epochs += 1
        if self.choice is not None:
            self._chosen(self.choice.between(self.step, self._epochs))

    def _chosen(self, found: Mapping[str, Json] | None) -> None:
        """Goes on at the level that was chosen, if it is another, and has the trace say so."""
        if found is not None and self.choice is not None:
            level = int(found["level"])
            self.event("level", found)
            self.choice.meter.change(level)
            self.change_level(level)
