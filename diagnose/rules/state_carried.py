"""Rule `state-carried`: evaluate begins with the state in which fit left the model's stateful layers (keras#2849)."""

from __future__ import annotations

import math

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import MATERIAL, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import named

NAME = "state-carried"

NONE = Text("state-carried.none", "The model has no stateful layer.")
NOT_REPEATED = Text("state-carried.not-repeated", "evaluate could not be repeated from a zero state")
NOT_MEASURED = Text("state-carried.not-measured", "Not measured: {reason}.")
SMALL = Text(
    "state-carried.small", "The state that fit left in {layers} changes no value of evaluate by {share:.0%} or more."
)
FAILED = Text(
    "state-carried.failed",
    "evaluate after fit gives {metric} {carried:number}, but {fresh:number} from a zero state: it begins with the "
    "state that fit's last batch left in {layers}.",
)
ADVICE = Text(
    "state-carried.advice",
    """\
Set the states to zero before every pass that starts new sequences:

{evaluate:python}

The same holds between epochs and before validation, which also go on from the state they find:

{fit:python}
""",
)
EVALUATE = """\
for layer in model.layers:
    if getattr(layer, "stateful", False):
        layer.reset_state()

model.evaluate(x, y, batch_size=...)"""
FIT = """\
class ResetStates(keras.callbacks.Callback):
    def reset(self, *args, **kwargs):
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()

    on_epoch_begin = on_epoch_end = on_test_begin = on_test_end = reset

model.fit(x, y, batch_size=..., shuffle=False, callbacks=[ResetStates()])"""


def check(facts: Facts) -> Finding:
    """Fails where `evaluate` gives another value from a zero state than from the state after fit."""
    layers = tuple(x for x in facts.trace.header.model.layers if x.stateful)
    zero = {k: v for k, v in facts.from_zero_state.items() if k in facts.evaluated}
    if not layers and not zero:
        return not_applicable(NAME, NONE())
    if not zero:
        reason = facts.no_replay or NOT_REPEATED()
        return not_applicable(NAME, NOT_MEASURED(reason=reason), {"layers": [x.name for x in layers]})
    metric = max(zero, key=lambda name: _relative(facts.evaluated[name], zero[name]))
    carried, fresh = facts.evaluated[metric], zero[metric]
    evidence = {
        "metric": metric,
        "evaluated": carried,
        "from_zero_state": fresh,
        "all": {name: {"evaluated": facts.evaluated[name], "from_zero_state": zero[name]} for name in zero},
        "layers": [x.name for x in layers],
    }
    if _relative(carried, fresh) < MATERIAL:
        title = SMALL(layers=named(layers), share=MATERIAL)
        return Finding(NAME, "passed", title, evidence, "", metric, abs(carried - fresh))
    title = FAILED(metric=metric, carried=carried, fresh=fresh, layers=named(layers))
    return Finding(NAME, "failed", title, evidence, ADVICE(evaluate=EVALUATE, fit=FIT), metric, abs(carried - fresh))


def _relative(a: float, b: float) -> float:
    """The difference as a share of the larger of both; 0 where it is not a number."""
    share = abs(a - b) / (max(abs(a), abs(b)) or 1.0)
    return 0.0 if math.isnan(share) else share
