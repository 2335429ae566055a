"""Rule `penalty-in-loss`: `loss` holds penalties (regularizers, `add_loss`), and the metric of the same function does
not (keras#6518, keras#20388)."""

from __future__ import annotations

from typing import Any

from diagnose.result.diagnosis import Finding, Ledger
from diagnose.rules.common import MATERIAL, not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_of_fit

NAME = "penalty-in-loss"

ADVICE = """\
Read `{metric}` where the fit to the data counts. It is the loss without penalties, and so is

```python
penalties = sum(float(keras.ops.sum(p)) for p in model.losses)
data_loss = model.evaluate(x, y, return_dict=True)["loss"] - penalties
```

for penalties on weights (those that depend on the batch are those of the model's last call). To decide by it as well:

```python
callbacks = [{call}]
```
"""


def check(facts: Facts) -> Finding:
    """Fails where penalties are a material part of `loss` and the same function, without them, stands beside it in
    the logs."""
    if facts.no_replay is not None:
        return not_applicable(NAME, f"Not measured, because replay was not possible: {facts.no_replay}.")
    ledgers = [x for x in facts.ledgers if x.metric == "loss"]
    if not ledgers:
        return not_applicable(NAME, "'loss' could not be replayed.")
    split = [x for x in ledgers if x.split is not None]
    if not split:
        return not_applicable(NAME, "The loss holds no penalties: no regularizers, no add_loss.")
    same = [v.log for v in facts.trace.header.metric_variables if v.log is not None and v.same_as == "loss"]
    ledger = max(split, key=_share)
    assert ledger.split is not None
    penalties, data = ledger.split.penalties, ledger.split.data
    evidence: dict[str, Any] = {
        "epoch": ledger.epoch,
        "loss": {"logged": ledger.logged, "evaluated": ledger.evaluated},
        "penalties": {"logged": penalties.logged, "evaluated": penalties.evaluated},
        "data_loss": {"logged": data.logged, "evaluated": data.evaluated},
        "same_function": {name: _logged(facts, ledger.epoch, name) for name in same},
    }
    effect = abs(penalties.logged)
    part = f"{number(penalties.logged)} of the loss {number(ledger.logged)} logged for epoch {ledger.epoch}"
    if _share(ledger) < MATERIAL or effect <= 2 * abs(ledger.residual):
        return Finding(NAME, "passed", f"Penalties are only {part}.", evidence, "", "loss", effect)
    if not same:
        title = f"Penalties are {part}; the log holds no metric of the same function that could be taken for it."
        return Finding(NAME, "passed", title, evidence, "", "loss", effect)
    metric = same[0]
    beside = _logged(facts, ledger.epoch, metric)
    title = (
        f"loss and {metric} are the same function, but the loss {number(ledger.logged)} logged for epoch "
        f"{ledger.epoch} holds {number(penalties.logged)} of penalties; without them it is {number(data.logged)}"
        f" ({metric}: {number(beside)})."
    )
    call = call_of_fit(facts, "early-stopping", monitor=f"val_{metric}", mode="min", baseline=None)
    return Finding(NAME, "failed", title, evidence, ADVICE.format(metric=metric, call=call), "loss", effect)


def _share(ledger: Ledger) -> float:
    """The larger part that penalties make of the loss, logged or evaluated."""
    assert ledger.split is not None
    penalties = ledger.split.penalties
    pairs = ((penalties.logged, ledger.logged), (penalties.evaluated, ledger.evaluated))
    return max(abs(p) / abs(whole) if whole else 0.0 for p, whole in pairs)


def _logged(facts: Facts, epoch: int, name: str) -> float | None:
    value = next((e.logs.get(name) for e in facts.epochs if e.epoch == epoch), None)
    return float(value) if isinstance(value, (int, float)) else None
