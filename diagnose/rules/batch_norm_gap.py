"""Rule `batch-norm-gap`: batch normalization uses the batch's own statistics in fit and moving averages in evaluate
(keras#6014, tf#38486)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diagnose.result.diagnosis import Finding
from diagnose.rules.common import counted, number
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import find_gap, named
from diagnose.tracefile.about import Layer
from diagnose.tracefile.digest import array_digest, numpy_dtype
from diagnose.tracefile.model import State

NAME = "batch-norm-gap"

FORGOTTEN = 0.01
"""Share of its initial value below which a moving average is that of the batches."""


def check(facts: Facts) -> Finding:
    """Fails where replay with these layers in inference mode moves a logged value by a part that matters; says how
    much of the moving averages is still what they were initialized with."""
    gap = find_gap(facts, NAME, "batch-norm", "batch normalization layer")
    if isinstance(gap, Finding):
        return gap
    updates = _updates(facts)
    momentum = _untouched_momentum(facts, gap.layers)
    share = None if momentum is None else momentum**updates
    evidence = gap.evidence | {"updates": updates, "momentum": momentum, "initial_share": share}
    title = f"{gap.numbers} batch normalization ({named(gap.layers)}), "
    why = "as fit uses the statistics of each batch, evaluate their moving averages."
    advice = ADVICE
    if momentum is not None and share is not None and share > FORGOTTEN:
        why = (
            f"whose moving averages, used by evaluate only, are still {100 * share:.3g} % their initial values "
            f"(mean 0, variance 1) after {counted(updates, 'update')} with momentum {number(momentum)}."
        )
        advice = _more_updates(momentum, updates) + ADVICE
    return Finding(NAME, "failed", title + why, evidence, advice, gap.ledger.metric, abs(gap.entry.amount))


ADVICE = """\
What fit logs is the model's value with each batch's own statistics; what you ship is the model with the moving
averages. Judge it by the latter, on the training data too:

```python
class EvaluateTrainingRows(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        values = self.model.evaluate(x, y, verbose=0, return_dict=True)
        print({f"{name} with moving averages": value for name, value in values.items()})

model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[EvaluateTrainingRows()])
```
"""


def _updates(facts: Facts) -> int:
    """How many updates the evaluated weights had in this fit."""
    final = facts.trace.final
    held = () if final is None else facts.trace.index.versions_of(final)
    return max(held, default=facts.trace.epochs[-1].last_version)


def _more_updates(momentum: float, updates: int) -> str:
    needed = math.ceil(math.log(FORGOTTEN) / math.log(momentum))
    text = (
        f"The moving averages need about {needed} updates at momentum {number(momentum)} until 99 % of them comes from "
        f"batches; this fit made {updates}. Train for more steps (more epochs, or smaller batches)"
    )
    suited = math.floor(100 * FORGOTTEN ** (1 / updates)) / 100
    if suited < 0.5:
        return f"{text}.\n\n"
    return f"""{text}, or let them forget sooner:

```python
keras.layers.BatchNormalization(momentum={suited})
```

"""


def _untouched_momentum(facts: Facts, layers: Sequence[Layer]) -> float | None:
    """The largest momentum of the layers whose averages had their initial values when this fit began; None where
    there is no such layer, or the trace does not tell."""
    first = facts.trace.version(0)
    found = [
        float(x.momentum)
        for x in layers
        if first is not None
        and x.trainable
        and x.momentum is not None
        and 0 < x.momentum < 1
        and _initial(facts, first, x.statistics)
    ]
    return max(found, default=None)


def _initial(facts: Facts, state: State, statistics: Sequence[int]) -> bool:
    """Whether a layer's moving mean is all 0 and its moving variance all 1 in this state."""
    variables = facts.trace.header.variables
    ends = {"moving_mean": np.zeros, "moving_variance": np.ones}
    by_name = {variables[i].path.rpartition("/")[2]: i for i in statistics if i < len(variables)}
    if not set(ends) <= set(by_name):
        return False
    for name, make in ends.items():
        i = by_name[name]
        initial = make(variables[i].shape, numpy_dtype(variables[i].dtype))
        if state.arrays[i] != array_digest(initial):
            return False
    return True
