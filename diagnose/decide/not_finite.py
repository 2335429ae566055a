"""Where a run first logged a value that is not finite: NaN and the infinities are values that were logged. Reads the
trace only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diagnose.result.texts import Said, Text
from diagnose.tracefile.increments import mean, sums
from diagnose.tracefile.model import Epoch
from diagnose.tracefile.reader import Trace

WAS = Text(
    "not-finite.was",
    "{metric} was {nan:given(NaN|infinite)} in {batch:given(batch {batch} of epoch {epoch}|epoch {epoch})}"
    "{step:given( (step {step}))}",
)


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A value that is NaN or infinite. `batch`: 1-based, in its epoch, with the step counted over the fit (0-based);
    None for a value of a whole epoch."""

    metric: str
    value: float
    epoch: int
    batch: int | None = None
    step: int | None = None

    @property
    def text(self) -> Said:
        """`loss was NaN in batch 3 of epoch 2 (step 18)`: a sentence inside of others."""
        nan = math.isnan(self.value)
        return WAS(metric=self.metric, nan=nan, epoch=self.epoch, batch=self.batch, step=self.step)

    def evidence(self) -> dict[str, Any]:
        """For a finding."""
        return {"metric": self.metric, "value": self.value, "epoch": self.epoch, "batch": self.batch, "step": self.step}


def first_logged(trace: Trace) -> NotFinite | None:
    """The first epoch with such a value in its logs; of several, a training value before one of validation."""
    for epoch in trace.epochs:
        names = sorted(epoch.logs, key=lambda name: name.startswith("val_"))
        for name in names:
            value = number(epoch, name)
            if value is not None and not math.isfinite(value):
                return NotFinite(name, value, epoch.epoch)
    return None


def first_batch(trace: Trace) -> NotFinite | None:
    """The first batch of training whose own value was such."""
    for step in trace.steps:
        if step.metrics_before is None:
            continue
        for name, own in sums(trace, step).items():
            value = mean(*own)
            if not math.isfinite(value) and own[1] != 0:  # an empty batch has no value of its own
                return NotFinite(name, value, step.epoch, step.batch_index + 1, step.step)
    return None


def number(epoch: Epoch, key: str) -> float | None:
    """What an epoch's log holds under this name, NaN and infinities included; None for none, or what is no number."""
    value = epoch.logs.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
