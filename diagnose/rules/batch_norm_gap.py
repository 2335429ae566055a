"""Rule `batch-norm-gap`: batch normalization uses the batch's own statistics in fit and moving averages in evaluate
(keras#6014, tf#38486)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import find_gap
from diagnose.tracefile.about import Layer
from diagnose.tracefile.digest import array_digest, numpy_dtype
from diagnose.tracefile.model import State

NAME = "batch-norm-gap"

FORGOTTEN = 0.01
"""Share of its initial value below which a moving average is that of the batches."""


def check(facts: Facts) -> Finding:
    """Fails where replay with these layers in inference mode moves a logged value by a part that matters; says how
    much of the moving averages is still what they were initialized with."""
    gap = find_gap(facts, NAME, "batch-norm")
    if isinstance(gap, Finding):
        return gap
    updates = _updates(facts)
    momentum = _untouched_momentum(facts, gap.layers)
    share = None if momentum is None else momentum**updates
    evidence = gap.evidence | {"updates": updates, "momentum": momentum, "initial_share": share}
    title, advice = FAILED(**gap.said), ADVICE(code=CODE)
    if momentum is not None and share is not None and share > FORGOTTEN:
        title = FAILED_EARLY(**gap.said, percent=100 * share, updates=updates, momentum=momentum)
        advice = BOTH(first=_more_updates(facts, momentum, updates), second=advice)
    return Finding(NAME, "failed", title, evidence, advice, gap.ledger.metric, abs(gap.entry.amount))


FAILED = Text(
    "batch-norm-gap.failed",
    "fit logged {metric} {logged:number} for epoch {epoch}, evaluate gives {evaluated:number}: {amount:signed} is from "
    "batch normalization ({layers}), as fit uses the statistics of each batch, evaluate their moving averages.",
)
FAILED_EARLY = Text(
    "batch-norm-gap.failed-early",
    "fit logged {metric} {logged:number} for epoch {epoch}, evaluate gives {evaluated:number}: {amount:signed} is from "
    "batch normalization ({layers}), whose moving averages, used by evaluate only, are still {percent:.3g} % their "
    "initial values (mean 0, variance 1) after {updates:plural(# update|# updates)} with momentum {momentum:number}.",
)
BOTH = Text("batch-norm-gap.both", "{first}\n{second}")
MORE_UPDATES = Text(
    "batch-norm-gap.more-updates",
    """\
The moving averages need about {needed} updates at momentum {momentum:number} until 99 % of them comes from batches;
this fit made {updates}. Train for more steps, or let them settle before the model is judged or saved. This moves the
averages and no weight{quicker:given(, with a shorter memory, as the weights stand still|)}:

{code:python}
""",
)
ADVICE = Text(
    "batch-norm-gap.advice",
    """\
What fit logs is the model's value with each batch's own statistics; what you ship is the model with the moving
averages. Judge it by the latter, on the training data too:

{code:python}
""",
)
CODE = """\
class EvaluateTrainingRows(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        values = self.model.evaluate(x, y, verbose=0, return_dict=True)
        print({f"{name} with moving averages": value for name, value in values.items()})

model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[EvaluateTrainingRows()])"""

SETTLING, SETTLED = 0.9, 1e-6
"""The longest memory that settling needs, and the share of their initial values that it leaves."""

SHORTER = """\
def norms(layer):
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer]
    return [norm for inner in getattr(layer, "layers", []) for norm in norms(inner)]

for norm in norms(model):
    norm.momentum = {momentum}
"""


def _updates(facts: Facts) -> int:
    """How many updates the evaluated weights had in this fit."""
    final = facts.trace.final
    held = () if final is None else facts.trace.index.versions_of(final)
    return max(held, default=facts.trace.epochs[-1].last_version)


def _more_updates(facts: Facts, momentum: float, updates: int) -> Said:
    """Another momentum in training is no advice: with it the averages are those of the last few batches, of weights
    that moved. Where these stand still, a short memory is enough, and nothing of an initial variance may be left, which
    can be many times that of the data."""
    needed = math.ceil(math.log(FORGOTTEN) / math.log(momentum))
    short = min(momentum, SETTLING)
    passes = math.ceil(math.log(SETTLED) / math.log(short) / max(facts.steps_per_epoch))
    rows = facts.trace.header.fit.arguments.batch_size
    size = f"batch_size={int(rows)}, " if rows else ""
    faster = SHORTER.format(momentum=short) if short < momentum else ""
    code = f"""\
{faster}settled = keras.Model(model.inputs, model.outputs)  # the same layers
settled.compile(keras.optimizers.SGD(0.0), model.loss)
settled.fit(x, y, {size}epochs={passes}, verbose=0)
model.evaluate(x, y)"""
    return MORE_UPDATES(needed=needed, momentum=momentum, updates=updates, quicker=bool(faster), code=code)


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
