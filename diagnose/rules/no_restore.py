"""Rule `no-restore`: EarlyStopping watched a best epoch, but the model after fit is simply the last one (keras#12511,
tf#35634)."""

from __future__ import annotations

import math

from diagnose.decide.watched import restoring
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_with, own_call

NAME = "no-restore"


def _advice(facts: Facts) -> str:
    """The user's own EarlyStopping, which restores."""
    own = restoring(facts.decisions)
    stopping = own is not None and own.kind == "early-stopping"
    call = own_call(own, restore_best_weights=True) if own is not None and stopping else call_with("early-stopping")
    return f"```python\n{call}\n```\n"


def check(facts: Facts) -> Finding:
    """Fails where the weights after fit are the last ones and the best epoch is another."""
    r = facts.restoration
    if r is None:
        reason = "No EarlyStopping in this fit." if facts.epochs else "No epoch was finished."
        return not_applicable(NAME, reason)
    if r.best_epoch is None:
        return not_applicable(NAME, f"{r.callback} never saw '{r.monitor}', so there was no best epoch to restore.")
    if r.best_logged is not None and math.isnan(r.best_logged):
        return not_applicable(NAME, f"{r.callback} saw '{r.monitor}' as NaN only, so no epoch was the best.")
    if r.verdict == "replaced":
        return not_applicable(
            NAME, f"The weights after fit are not the last ones of training: {r.written_by} wrote others."
        )
    last = facts.epochs[-1]
    evidence = {
        "callback": r.callback,
        "monitor": r.monitor,
        "best_epoch": r.best_epoch,
        "best_logged": r.best_logged,
        "held_version": r.restored_version,
        "last_epoch": last.epoch,
        "held_value": r.restored_value,
    }
    if r.verdict != "not-restored":
        title = f"{r.callback} restored: the model holds epoch {r.restored_epoch}."
        return Finding(NAME, "passed", title, evidence, "", r.monitor)
    if r.best_epoch == last.epoch:
        return Finding(
            NAME, "passed", "Nothing had to be restored: the best epoch is the last.", evidence, "", r.monitor, 0.0
        )
    title = (
        f"The model after fit holds the last weights "
        f"(epoch {last.epoch}, {r.monitor} {number(last.logs.get(r.monitor))}), "
        f"not those of its best epoch {r.best_epoch} ({number(r.best_logged)})."
    )
    logged = last.logs.get(r.monitor)
    effect = (
        abs(float(logged) - r.best_logged) if isinstance(logged, (int, float)) and r.best_logged is not None else None
    )
    return Finding(NAME, "failed", title, evidence, _advice(facts), r.monitor, effect)
