"""Rule `one-step-epoch`: with one batch per epoch, the logged value belongs to the end of the epoch before
(keras#20323, #8578)."""

from __future__ import annotations

from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import consequence, metric_in_question, not_applicable, number, rests_on_training, timing
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import deciding_call

NAME = "one-step-epoch"

ADVICE = """\
Monitor a value that is computed after the update, over the data you care about.
Validation data may be the training data itself:

```python
model.fit(x, y, epochs=..., batch_size=len(x),
          validation_data=(x, y),
          callbacks=[OWN_CALL])
```
"""


def check(facts: Facts) -> Finding:
    """Fails where replay shows the shift and the shifted value is what the run, or its reader, goes by."""
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    if any(n != 1 for n in facts.steps_per_epoch):
        steps = sorted(set(facts.steps_per_epoch))
        return not_applicable(NAME, "Epochs have more than one step.", {"steps_per_epoch": steps})
    if facts.no_replay is not None:
        return not_applicable(NAME, f"Not proven, because replay was not possible: {facts.no_replay}.")
    decisions = rests_on_training(facts)
    if decisions is None:
        title = "Each logged training value is one update old, but nothing here was decided by one."
        return Finding(NAME, "passed", title, {"decided_by": [d.monitor for d in facts.decisions]}, "")
    if _kept_its_owner(facts, decisions):
        title = "Each logged training value is one update old, but the weights restored are those that produced it."
        return Finding(NAME, "passed", title, {"decided_by": [d.monitor for d in decisions]}, "")
    metric = metric_in_question(facts, decisions)
    ledgers = [x for x in facts.ledgers if x.metric == metric]
    if not ledgers:
        return not_applicable(NAME, f"'{metric}' could not be replayed.", {"metric": metric})
    unproven = [e for e, c in facts.checks.items() if not all(s.reproduced for s in c.steps)]
    if unproven:
        return not_applicable(
            NAME, "Replay did not reproduce every step, so no shift is claimed.", {"epochs": unproven}
        )
    best = facts.restoration.best_epoch if facts.restoration is not None else None
    ledger = next((x for x in ledgers if x.epoch == best), ledgers[-1])
    shift = timing(ledger)
    later = facts.end_of_epoch.get(ledger.epoch, {}).get(metric)
    at = facts.clock(metric, ledger.epoch).span
    evidence = {
        "metric": metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "computed_at_version": None if at is None else at.first,
        "one_update_later": later,
        "matches": _matches(facts, metric),
    }
    if abs(shift) <= abs(ledger.residual) or shift == 0.0:
        return Finding(
            NAME, "passed", "One step per epoch, but the update did not change the value.", evidence, "", metric, 0.0
        )
    title = (
        f"One batch per epoch: the {metric} logged for epoch {ledger.epoch} ({number(ledger.logged)}) is that of "
        f"the weights before the epoch's only update; after it, it is {number(later)}. "
        f"{consequence(decisions)}"
    )
    advice = ADVICE.replace("OWN_CALL", deciding_call(facts, decisions))
    return Finding(NAME, "failed", title, evidence, advice, metric, abs(shift))


def _kept_its_owner(facts: Facts, decisions: list[Watcher]) -> bool:
    """Whether the only decision on a training value is a restore that brought back the version it was computed at."""
    r = facts.restoration
    if r is None or r.verdict != "aligned" or len(decisions) != 1:
        return False
    return decisions[0].kind == "early-stopping" and decisions[0].monitor == r.monitor and r.confirmed is True


def _matches(facts: Facts, metric: str) -> list[dict[str, float]]:
    """Pairs (logged for epoch k+1, re-evaluated at the end of epoch k): equal where no other factor is at work."""
    pairs = []
    for earlier, later in zip(facts.epochs, facts.epochs[1:], strict=False):
        value = facts.reevaluated.get(earlier.epoch, {}).get(metric)
        if value is not None and metric in later.logs:
            pairs.append({"epoch": later.epoch, "logged": later.logs[metric], "reevaluated_epoch_before": value})
    return pairs[:20]
