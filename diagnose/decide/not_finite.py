"""Where a run first logged a value that is not finite: NaN and the infinities are values that were logged. Reads the
trace only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnose.errors import ReplayError
from diagnose.result.texts import Said, Text
from diagnose.tracefile.increments import mean, sums
from diagnose.tracefile.model import BatchRef, Epoch, State
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import leaves_of

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


@dataclass(frozen=True, slots=True)
class Weights:
    """The first recorded version with such a weight, the (1-based) epoch of the update that made it (None: before the
    first), and the first of its variables that have one. `version` None: all that was looked at is finite."""

    version: int | None
    epoch: int | None = None
    variables: tuple[str, ...] = ()

    def evidence(self) -> dict[str, Any]:
        """For a finding."""
        return {"version": self.version, "epoch": self.epoch, "variables": list(self.variables)}


def first_weights(trace: Trace) -> Weights | None:
    """Which version became such first; None where no contents are kept. Weights that are not numbers never become some
    again, so the first epoch is looked for by halves, then the update in it."""
    ends = [(e, s) for e in trace.epochs if (s := trace.index.kept(trace.states[e.state])) is not None]
    if not ends:
        return None
    if not bad_variables(trace, ends[-1][1]):
        return Weights(None)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bad_variables(trace, ends[middle][1]) else (middle + 1, high)
    epoch, state = ends[low]
    for version in range(epoch.first_version if low == 0 else epoch.first_version + 1, epoch.last_version):
        made = trace.version(version)
        if made is not None and made.kept and (bad := bad_variables(trace, made)):
            return Weights(version, epoch.epoch if version else None, bad)
    return Weights(epoch.last_version, epoch.epoch, bad_variables(trace, state))


def bad_variables(trace: Trace, state: State) -> tuple[str, ...]:
    """The variables with a value that is not finite, the first few."""
    found = []
    for variable, array in zip(trace.header.variables, trace.arrays(state), strict=False):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            found.append(variable.path)
    return tuple(found[:3])


def first_logged(trace: Trace, epochs: Sequence[Epoch] | None = None) -> NotFinite | None:
    """The first epoch with such a value in its logs; of several, a training value before one of validation."""
    for epoch in trace.epochs if epochs is None else epochs:
        names = sorted(epoch.logs, key=lambda name: name.startswith("val_"))
        for name in names:
            value = number(epoch, name)
            if value is not None and not math.isfinite(value):
                return NotFinite(name, value, epoch.epoch)
    return None


def first_batch(trace: Trace) -> NotFinite | None:
    """The first batch of training whose own value was such."""
    for step in trace.steps:
        for name, own in sums(trace, step).items():
            value = mean(*own)
            if not math.isfinite(value) and own[1] != 0:  # an empty batch has no value of its own
                return NotFinite(name, value, step.epoch, step.batch_index + 1, step.step)
    return None


@dataclass(frozen=True, slots=True)
class BadRows:
    """How many of the rows of some batches hold what is no finite number, and how many of these in which part."""

    rows: int
    inputs: int
    labels: int
    weights: int

    @property
    def where(self) -> str:
        """The one part that it is in; "several" for more."""
        found = [name for name in ("inputs", "labels", "weights") if getattr(self, name)]
        return found[0] if len(found) == 1 else "several"


def bad_rows(trace: Trace, batches: Iterable[BatchRef]) -> BadRows | None:
    """None where the contents of a batch are not kept, or are no numbers."""
    total, parts = 0, [0, 0, 0]
    try:
        for ref in batches:
            batch = trace.batch(ref)
            found = [_bad_in(tree, batch.size) for tree in (batch.x, batch.y, batch.sample_weight)]
            parts = [n + int(bad.sum()) for n, bad in zip(parts, found, strict=True)]
            total += int(np.any(found, axis=0).sum())
    except (ReplayError, ValueError, TypeError):
        return None
    return BadRows(total, *parts)


def _bad_in(tree: Any, rows: int) -> npt.NDArray[np.bool_]:
    """By row; raises ValueError for an array without rows, or of no numbers."""
    found = np.zeros(rows, bool)
    for leaf in leaves_of(tree):
        if leaf.dtype.kind in "fc":
            found |= ~np.isfinite(leaf).reshape(rows, -1).all(axis=1)
        elif leaf.dtype.kind not in "biu":
            raise ValueError("no numbers")
    return found


def number(epoch: Epoch, key: str) -> float | None:
    """What an epoch's log holds under this name, NaN and infinities included; None for none, or what is no number."""
    value = epoch.logs.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
