"""Rule `state-carried`: evaluate begins with the state in which fit left the model's stateful layers (keras#2849)."""

from __future__ import annotations

import math

from diagnose.result.diagnosis import Finding
from diagnose.rules.common import MATERIAL, not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import named

NAME = "state-carried"

ADVICE = """\
Set the states to zero before every pass that starts new sequences:

```python
for layer in model.layers:
    if getattr(layer, "stateful", False):
        layer.reset_state()

model.evaluate(x, y, batch_size=...)
```

The same holds between epochs and before validation, which also go on from the state they find:

```python
class ResetStates(keras.callbacks.Callback):
    def reset(self, *args, **kwargs):
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()

    on_epoch_begin = on_epoch_end = on_test_begin = on_test_end = reset

model.fit(x, y, batch_size=..., shuffle=False, callbacks=[ResetStates()])
```
"""


def check(facts: Facts) -> Finding:
    """Fails where `evaluate` gives another value from a zero state than from the state after fit."""
    layers = tuple(x for x in facts.trace.header.model.layers if x.stateful)
    zero = {k: v for k, v in facts.from_zero_state.items() if k in facts.evaluated}
    if not layers and not zero:
        return not_applicable(NAME, "The model has no stateful layer.")
    if not zero:
        reason = facts.no_replay or "evaluate could not be repeated from a zero state"
        return not_applicable(NAME, f"Not measured: {reason}.", {"layers": [x.name for x in layers]})
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
        title = f"The state that fit left in {named(layers)} changes no value of evaluate by {MATERIAL:.0%} or more."
        return Finding(NAME, "passed", title, evidence, "", metric, abs(carried - fresh))
    title = (
        f"evaluate after fit gives {metric} {number(carried)}, but {number(fresh)} from a zero state: "
        f"it begins with the state that fit's last batch left in {named(layers)}."
    )
    return Finding(NAME, "failed", title, evidence, ADVICE, metric, abs(carried - fresh))


def _relative(a: float, b: float) -> float:
    """The difference as a share of the larger of both; 0 where it is not a number."""
    share = abs(a - b) / (max(abs(a), abs(b)) or 1.0)
    return 0.0 if math.isnan(share) else share
