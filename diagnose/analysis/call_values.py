"""What replay gives for the weights and rows of a call of the script's. Knows no logged value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from diagnose.analysis.call_data import Held
from diagnose.record.call_items import Call, Calls
from diagnose.replay.replayer import Replayer
from diagnose.replay.runs import BatchRun
from diagnose.result.calls import Call as CallFound
from diagnose.tracefile.model import Batch, NDArray

MOST_ROWS: Final = 500_000
"""Of all calls together that are replayed; the last calls first."""

Values = Mapping[str, float]


class CallValues:
    """Values of all calls, each computed once."""

    def __init__(self, calls: Calls, replayer: Replayer | None) -> None:
        self.calls, self.replayer = calls, replayer
        self._left = MOST_ROWS
        self._found: dict[Any, Values] = {}

    def of(self, call: Call, held: Held, batches: Sequence[Batch], how: str) -> Values | None:
        """All metrics in inference mode with a call's weights over batches, which `how` and the call's rows tell from
        others. None where that cannot be computed, or would be too much."""
        replayer = self.replayer
        if replayer is None or (replayer.spread is not None and replayer.spread.partial is not None):
            return None
        rows = None if call.rows is None else (call.rows.leaves, call.rows.sample_weight)
        weighted = any(b.sample_weight is not None for b in batches)
        key = (call.weights, rows, tuple(b.size for b in batches), weighted, how)
        if key not in self._found:
            count = sum(b.size for b in batches)
            arrays = None if held.state is not None else self.calls.arrays(call.weights)
            if count > self._left or (held.state is None and arrays is None):
                return None
            if arrays is not None and [a.shape for a in arrays] != replayer.engine.shapes:
                return None  # a model of other layers
            self._left -= count
            if held.state is not None:
                self._found[key] = replayer.over(held.state, batches)
            else:
                assert arrays is not None
                self._found[key] = replayer.with_weights(arrays, batches)
        return self._found[key]

    def mask(self, batches: Sequence[Batch]) -> NDArray | None:
        """Which steps of the model's only output count for `evaluate`; None where it has no mask."""
        replayer = self.replayer
        if replayer is None or not replayer.trace.header.model.masking or not batches:
            return None
        if replayer.spread is not None and replayer.spread.partial is not None:
            return None
        values = replayer.states.values(replayer.states.final())
        found = [replayer.engine.masks(BatchRun(values, b, None, None, b.fixed, None)) for b in batches]
        parts = [masks[0] for masks in found if len(masks) == 1 and masks[0] is not None]
        return np.concatenate(parts) if len(parts) == len(found) else None

    def reproduced(self, entry: CallFound, values: Values | None) -> bool | None:
        """Whether these are what the call returned; None where no value can be compared."""
        from diagnose.replay.check import close

        shared = [name for name in entry.returned if values and name in values]
        if not shared or values is None or self.replayer is None:
            return None
        replayer = self.replayer
        return all(close(replayer, values[name], entry.returned[name]) for name in shared)

    def gives(self, value: float, wanted: float) -> bool:
        """Whether two values are the same up to the rounding of replay."""
        from diagnose.replay.check import close

        return self.replayer is not None and close(self.replayer, value, wanted)
