"""Runs batches of one form as one loop of the backend, and takes apart what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.replay.blocks import Passed, stacked
from diagnose.replay.keras.values import Values
from diagnose.replay.runs import BatchRun, weights_as_given


@dataclass(frozen=True, slots=True)
class BlockLoop:
    """`loop`: see `ReplayBackend.loop`."""

    loop: Callable[..., Any]
    values: Values

    def passed(
        self,
        runs: Sequence[BatchRun],
        metrics: Sequence[Sequence[Any]],
        carry: Sequence[bool],
        left: Sequence[Sequence[Any] | None],
    ) -> Passed:
        """What `one_by_one` gives for the same; without logs, which only steps of the user's own return."""
        backend, first = self.values.backend, runs[0]
        moving = any(run.values is not first.values for run in runs)
        if moving:
            held = [backend.tensor(np.stack(each)) for each in zip(*(run.arrays or () for run in runs), strict=True)]
        else:
            held = list(first.values[0])
        # What is handed to the first pass; without it, and where nothing is handed on, what is in its own values.
        own = [backend.tensor((first.arrays or ())[place]) for place in self.values.carried]
        starts = [own if given is None else list(given) for given in left]
        x, y = (self.values.tree(stacked([getattr(run.batch, name) for run in runs])) for name in ("x", "y"))
        weight = self.values.tree(stacked([weights_as_given(run.sample_weight, run.batch.weight_tree) for run in runs]))
        found, after, each, penalties = self.loop(
            held, [list(m) for m in metrics], starts, x, y, weight, moving=moving, carry=tuple(carry), fixed=first.fixed
        )
        arrays = [backend.array(value) for value in each]
        told = backend.array(penalties).tolist()
        handed = [list(values) if flag else None for values, flag in zip(after, carry, strict=True)]
        return Passed(
            [list(m) for m in found],
            handed,
            [[array[place] for array in arrays] for place in range(len(runs))],
            told,
            [None] * len(metrics),
        )
