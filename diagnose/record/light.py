"""How much is looked at while a fit runs: the levels of a recording, and the last step of a light one, which is held
back until somebody looks at what it made. Runs on the training thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from diagnose.record.backends.base import Backend, Live
from diagnose.record.items import Item, Snapshot, StepItem, StepsItem

INPUTS: Final = 0
"""Of a step only what went into it: the first of an epoch with what it began with, the last with what it made."""
METRICS: Final = 1
"""Also the metric state after each step."""
DIGESTS: Final = 2
"""Also the digest of each version, so that callbacks may change weights between steps."""
VERSIONS: Final = 3
"""Also the weights of each version."""

METRIC_STATE_LIMIT: Final = 1 << 16
"""Bytes of metric state recorded per step at most; larger states (confusion matrices) are checked at epoch ends
only."""


class LastStep:
    """The step that was made last, or steps up to it, without what it made."""

    def __init__(self, put: Callable[[Item], None]) -> None:
        self._put = put
        self._item: StepItem | StepsItem | None = None

    @property
    def waits(self) -> bool:
        return self._item is not None

    def put(self, item: StepItem | StepsItem) -> None:
        """Hands on the one before as it is, and keeps this one, unless it tells already what it made."""
        self.hand_on()
        if item.after is None:
            self._item = item
        else:
            self._put(item)

    def seen(self, after: Snapshot, metrics: bytes | None) -> None:
        """What the step made, seen before anybody can have changed it."""
        item, self._item = self._item, None
        if item is None:
            return
        before = item.metrics_before
        if before is not None and metrics is not None and len(before) != len(metrics):
            item = replace(item, metrics_before=None)  # metrics were made meanwhile
        self._put(replace(item, after=after, metrics_after=metrics))

    def hand_on(self) -> None:
        """What the step made is not seen any more."""
        item, self._item = self._item, None
        if item is not None:
            self._put(item)


def metric_state(backend: Backend, live: Live) -> bytes | None:
    """The contents of the metrics' variables, one after the other; None where that is too much for each step."""
    views = [backend.view(value) for value in live.metrics]
    if sum(view.nbytes for view in views) > METRIC_STATE_LIMIT:
        return None
    return b"".join(np.ascontiguousarray(view).tobytes() for view in views)
