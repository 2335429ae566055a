"""Rule `restored-is-not-best`: settings of EarlyStopping make the epoch it restored another than the best logged one
(tf#45187)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from diagnose.decide.better import Logged, choose
from diagnose.decide.kept import logged
from diagnose.decide.watched import Watcher, restoring
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_with, own_call

NAME = "restored-is-not-best"

SETTINGS: Mapping[str, Any] = {"min_delta": 0.0, "start_from_epoch": 0}
"""What decides which epoch is kept, with the values that leave it to the logged values alone."""


def check(facts: Facts) -> Finding:
    """Fails where the restored epoch is the one that the callback's settings choose, and another has the best value."""
    r, decision = facts.restoration, restoring(facts.decisions)
    if r is None or decision is None or decision.kind != "early-stopping":
        return not_applicable(NAME, "No EarlyStopping in this fit.")
    if not decision.settings.get("restore_best_weights") or r.verdict == "not-restored":
        return not_applicable(NAME, f"{r.callback} restored nothing.")
    if r.best_epoch is None or r.best_logged is None:
        return not_applicable(NAME, f"{r.callback} never saw a value of '{r.monitor}' to go by.")
    if math.isnan(r.best_logged):
        return not_applicable(NAME, f"{r.callback} saw '{r.monitor}' as NaN only, so no epoch was the best.")
    if r.restored_epoch is None:
        return not_applicable(NAME, "The weights after fit are no version of training, so they are of no epoch.")
    values = logged(r.monitor, facts.epochs)
    there = dict(values).get(r.restored_epoch)
    evidence: dict[str, Any] = {
        "callback": r.callback,
        "monitor": r.monitor,
        "mode": r.mode,
        "settings": {name: decision.settings.get(name) for name in (*SETTINGS, "baseline")},
        "best_epoch": r.best_epoch,
        "best_logged": r.best_logged,
        "restored_epoch": r.restored_epoch,
        "restored_logged": there,
        "restored_value": r.restored_value,
    }
    if r.restored_epoch == r.best_epoch or there == r.best_logged:
        title = f"{r.callback} restored epoch {r.restored_epoch}, and no epoch logged a better {r.monitor}."
        return Finding(NAME, "passed", title, evidence, "", r.monitor, 0.0)
    if r.restored_epoch != r.chosen_epoch:
        chosen = "none" if r.chosen_epoch is None else f"epoch {r.chosen_epoch}"
        return not_applicable(
            NAME,
            f"The model holds epoch {r.restored_epoch}, which is not the epoch that {r.callback}'s settings choose "
            f"({chosen}).",
            evidence,
        )
    causes = _causes(values, decision, r.best_epoch)
    nan = values[0][1] if values and math.isnan(values[0][1]) else None
    if not causes and nan is None:
        return not_applicable(NAME, f"None of {r.callback}'s settings explains that it kept this epoch.", evidence)
    evidence["because_of"] = causes or ["the first value is NaN"]
    texts = [f"{name}={decision.settings.get(name)!r}" for name in causes]
    because = " and ".join(_shown(decision, name) for name in causes) if causes else "its first value was NaN"
    title = (
        f"{r.callback} restored epoch {r.restored_epoch} ({r.monitor} {number(there)}), not epoch {r.best_epoch}, "
        f"whose {number(r.best_logged)} is the best that was logged: {because}."
    )
    effect = None if there is None or math.isnan(there) else abs(there - r.best_logged)
    return Finding(NAME, "failed", title, evidence, _advice(decision, texts), r.monitor, effect)


def _causes(values: Logged, decision: Watcher, best: int) -> list[str]:
    """The settings without which (each alone, else all together) the best logged epoch would have been kept."""
    given = [name for name, neutral in SETTINGS.items() if (decision.settings.get(name) or 0) != neutral]

    def without(names: list[str]) -> int | None:
        changed = {**decision.settings, **{name: SETTINGS[name] for name in names}}
        return choose(values, decision.direction, changed)

    alone = [name for name in given if without([name]) == best]
    return alone or (given if given and without(given) == best else [])


def _shown(decision: Watcher, name: str) -> str:
    value: Any = decision.settings.get(name)
    if name == "min_delta":
        return f"with min_delta={abs(float(value)):.6g}, later values were not better by enough to count"
    return f"start_from_epoch={value} kept it from looking at epochs before {int(value) + 1}"


def _advice(decision: Watcher, texts: list[str]) -> str:
    how = {} if decision.direction is None else {"mode": decision.direction}
    saving = call_with("checkpoint", filepath="best.keras", monitor=decision.monitor, save_best_only=True, **how)
    why = f"{' and '.join(texts)} decides" if texts else "The first value decides"
    return f"""\
{why} not only when to stop, but also which epoch is kept. Keep the best one apart from it:

```python
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[
    {own_call(decision)},
    {saving},
])
model = keras.saving.load_model("best.keras")
```
"""
