"""Rule `moving-average-of-weights`: with many batches, an epoch's value averages batches scored under different weights
(keras#503, #605, #6977); no version owns it."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.rules.common import consequence, metric_in_question, not_applicable, number, rests_on_training, timing
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import deciding_call

NAME = "moving-average-of-weights"

ADVICE = """\
Decide by a value of one set of weights: give fit validation data (the training data itself will do), and
monitor `val_…`:

```python
model.fit(x, y, epochs=..., validation_data=(x_val, y_val),
          callbacks=[OWN_CALL])
```

To compare with the training data at the end, use `model.evaluate(x, y)`, not the last line of the log.
"""


def check(facts: Facts) -> Finding:
    """Fails where the ledger puts part of the gap down to weights that moved within the epoch, and the value is gone
    by."""
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    if all(n <= 1 for n in facts.steps_per_epoch):
        return not_applicable(NAME, "Every epoch has one step: its value belongs to one set of weights.")
    if facts.no_replay is not None:
        return not_applicable(NAME, f"Not measured, because replay was not possible: {facts.no_replay}.")
    decisions = rests_on_training(facts)
    if decisions is None:
        title = "Logged training values average over moving weights, but nothing here was decided by one."
        return Finding(NAME, "passed", title, {"decided_by": [d.monitor for d in facts.decisions]}, "")
    metric = metric_in_question(facts, decisions)
    many = {e.epoch for e in facts.epochs if e.last_version - e.first_version > 1}
    ledgers = [x for x in facts.ledgers if x.metric == metric and x.epoch in many]
    if not ledgers:
        return not_applicable(NAME, f"'{metric}' could not be replayed.", {"metric": metric})
    ledger = max(ledgers, key=lambda x: abs(timing(x)))
    moved = timing(ledger)
    at = facts.clock(metric, ledger.epoch).span
    if at is None:
        return not_applicable(NAME, f"Where {metric} was computed is not known.", {"metric": metric})
    end = facts.end_of_epoch.get(ledger.epoch, {}).get(metric)
    evidence = {
        "metric": metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "computed_at_versions": [at.first, at.last],
        "end_of_epoch": end,
        "largest_gap_by_timing": moved,
        "residual": ledger.residual,
    }
    if abs(moved) <= 2 * abs(ledger.residual) or moved == 0.0:
        title = f"The weights moved within the epochs, but {metric} did not: no gap comes from it."
        return Finding(NAME, "passed", title, evidence, "", metric, abs(moved))
    batches = at.last - at.first + 1
    title = (
        f"The {metric} logged for epoch {ledger.epoch} ({number(ledger.logged)}) averages {batches} batches, each "
        "scored with other weights; no version of the model has it. "
        f"At the end of that epoch it is {number(end)}"
        f" on the same batches. {consequence(decisions)}"
    )
    advice = ADVICE.replace("OWN_CALL", deciding_call(facts, decisions))
    return Finding(NAME, "failed", title, evidence, advice, metric, abs(moved))
