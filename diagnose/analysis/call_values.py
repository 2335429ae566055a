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

MOST_MASKED: Final = 4096
"""Rows of a call whose masks are asked for, outside any graph."""

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

    def by_its_own(self, call: Call, held: Held, batches: Sequence[Batch]) -> Values:
        """The same values by what the model was compiled with for this call; empty where that is as in the fit, or
        cannot be computed."""
        replayer, count = self.replayer, sum(b.size for b in batches)
        if not call.compiled or replayer is None or not batches or count > self._left:
            return {}
        if replayer.spread is not None or replayer.engine.own_test:
            return {}
        arrays = self.calls.arrays(call.weights) if held.state is None else replayer.states.arrays(held.state)
        if arrays is None or [a.shape for a in arrays] != replayer.engine.shapes:
            return {}
        key = (tuple(map(id, call.compiled.values())), call.weights, count, tuple(id(b.x) for b in batches[:1]))
        if key not in self._found:
            self._left -= count
            with replayer.engine.compiled_as(call.compiled) as engine:
                self._found[key] = Replayer(replayer.trace, engine, ()).with_weights(arrays, batches)
        return self._found[key]

    def penalties(self, call: Call, held: Held, batches: Sequence[Batch]) -> float | None:
        """What the compiled loss of these batches holds beside that of the labels; None: not known."""
        replayer = self.replayer
        if replayer is None or replayer.spread is not None or replayer.engine.own_test or not batches:
            return None
        arrays = self.calls.arrays(call.weights) if held.state is None else replayer.states.arrays(held.state)
        if arrays is None or [a.shape for a in arrays] != replayer.engine.shapes:
            return None
        return replayer.penalties(arrays, batches)

    def mask(self, call: Call, batches: Sequence[Batch]) -> NDArray | None:
        """Which steps of sequences that were predicted count for `evaluate`; None where there is no mask, or too many
        rows to look."""
        replayer, kept = self.replayer, self.calls.arrays(call.predictions or ())
        if not kept or kept[0].ndim != 3 or len(kept[0]) > MOST_MASKED:
            return None
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
