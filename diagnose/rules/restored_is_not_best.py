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
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NAN_ONLY, NO_STOPPING, NO_VERSION, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_with, own_call
from diagnose.rules.size import alike

NAME = "restored-is-not-best"

RESTORED_NOTHING = Text("restored-is-not-best.restored-nothing", "{callback} restored nothing.")
NEVER_SAW = Text("restored-is-not-best.never-saw", "{callback} never saw a value of '{monitor}' to go by.")
IS_BEST = Text(
    "restored-is-not-best.is-best", "{callback} restored epoch {epoch}, and no epoch logged a better {monitor}."
)
NOT_CHOSEN = Text(
    "restored-is-not-best.not-chosen",
    "The model holds epoch {epoch}, which is not the epoch that {callback}'s settings choose "
    "({chosen:given(epoch {chosen}|none)}).",
)
NOT_EXPLAINED = Text(
    "restored-is-not-best.not-explained", "None of {callback}'s settings explains that it kept this epoch."
)
MIN_DELTA = Text(
    "restored-is-not-best.min-delta", "with min_delta={value:number}, later values were not better by enough to count"
)
START_FROM = Text(
    "restored-is-not-best.start-from", "start_from_epoch={value} kept it from looking at epochs before {first}"
)
FIRST_IS_NAN = Text("restored-is-not-best.first-is-nan", "the first value is NaN")
FIRST_NAN = Text("restored-is-not-best.first-nan", "its first value was NaN")
FAILED = Text(
    "restored-is-not-best.failed",
    "{callback} restored epoch {epoch} ({monitor} {there:number}), not epoch {best_epoch}, whose {best:number} is the "
    "best that was logged: {because:and}.",
)
ADVICE = Text(
    "restored-is-not-best.advice",
    """\
{settings:given({settings:and} decides|The first value decides)} not only when to stop, but also which epoch is kept. \
Keep the best one apart from it:

{code:python}
""",
)

SETTINGS: Mapping[str, Any] = {"min_delta": 0.0, "start_from_epoch": 0}
"""What decides which epoch is kept, with the values that leave it to the logged values alone."""


def check(facts: Facts) -> Finding:
    """Fails where the restored epoch is the one that the callback's settings choose, and another has the best value."""
    r, decision = facts.restoration, restoring(facts.decisions)
    if r is None or decision is None or decision.kind != "early-stopping":
        return not_applicable(NAME, NO_STOPPING())
    if not decision.settings.get("restore_best_weights") or r.verdict == "not-restored":
        return not_applicable(NAME, RESTORED_NOTHING(callback=r.callback))
    if r.best_epoch is None or r.best_logged is None:
        return not_applicable(NAME, NEVER_SAW(callback=r.callback, monitor=r.monitor))
    if math.isnan(r.best_logged):
        return not_applicable(NAME, NAN_ONLY(callback=r.callback, monitor=r.monitor))
    if r.restored_epoch is None:
        return not_applicable(NAME, NO_VERSION())
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
        title = IS_BEST(callback=r.callback, epoch=r.restored_epoch, monitor=r.monitor)
        return Finding(NAME, "passed", title, evidence, "", r.monitor, 0.0)
    if (same := alike(facts, r.monitor, there, r.best_logged)) is not None:
        return Finding(NAME, "passed", same, evidence, "", r.monitor, abs((there or 0.0) - r.best_logged))
    if r.restored_epoch != r.chosen_epoch:
        reason = NOT_CHOSEN(epoch=r.restored_epoch, callback=r.callback, chosen=r.chosen_epoch)
        return not_applicable(NAME, reason, evidence)
    causes = _causes(values, decision, r.best_epoch)
    nan = values[0][1] if values and math.isnan(values[0][1]) else None
    if not causes and nan is None:
        return not_applicable(NAME, NOT_EXPLAINED(callback=r.callback), evidence)
    evidence["because_of"] = causes or [FIRST_IS_NAN()]
    texts = [f"{name}={decision.settings.get(name)!r}" for name in causes]
    title = FAILED(
        callback=r.callback,
        epoch=r.restored_epoch,
        monitor=r.monitor,
        there=there,
        best_epoch=r.best_epoch,
        best=r.best_logged,
        because=[_shown(decision, name) for name in causes] or [FIRST_NAN()],
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


def _shown(decision: Watcher, name: str) -> Said:
    value: Any = decision.settings.get(name)
    if name == "min_delta":
        return MIN_DELTA(value=abs(float(value)))
    return START_FROM(value=value, first=int(value) + 1)


def _advice(decision: Watcher, settings: list[str]) -> Said:
    how = {} if decision.direction is None else {"mode": decision.direction}
    saving = call_with("checkpoint", filepath="best.keras", monitor=decision.monitor, save_best_only=True, **how)
    code = f"""\
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[
    {own_call(decision)},
    {saving},
])
model = keras.saving.load_model("best.keras")"""
    return ADVICE(settings=settings, code=code)
