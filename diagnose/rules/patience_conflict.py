"""Rule `patience-conflict`: ReduceLROnPlateau waits as long as EarlyStopping, so that no epoch is trained at a lower
rate (yolov3-tf2#181)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NO_STOPPING, NOT_END, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.events import LearningRate
from diagnose.tracefile.model import Event

NAME = "patience-conflict"

NO_PLATEAU = Text("patience-conflict.no-plateau", "No ReduceLROnPlateau in this fit.")
NEVER_SAW = Text("patience-conflict.never-saw", "{callback} never saw '{monitor}'.")
NOT_STOPPED = Text(
    "patience-conflict.not-stopped", "{stopping} did not stop this fit, so {plateau} had all its epochs."
)
STALE = Text("patience-conflict.stale", "{callback} compared with the best of an earlier fit.")
LOWERED = Text(
    "patience-conflict.lowered", "{plateau} lowered the rate after epoch {epochs:list}, before training was stopped."
)
LOWERED_LAST = Text(
    "patience-conflict.lowered-last",
    "{plateau} (patience {plateau_patience}) lowered the learning rate, {before:number} to {after:number}, in the very "
    "epoch {epoch} after which {stopping} (patience {patience}) stopped: no epoch was trained at the lower rate.",
)
AT_LOWEST = Text("patience-conflict.at-lowest", "The learning rate was at {plateau}'s `min_lr` from the start.")
IMPROVED = Text(
    "patience-conflict.improved",
    "{stopping} (patience {patience}) stopped training after epoch {epoch}; '{monitor}' had improved "
    "{waited:plural(# epoch|# epochs)} before, so there was no plateau.",
)
NEVER_LOWERED = Text(
    "patience-conflict.never-lowered",
    "{plateau} never lowered the learning rate: {stopping} (patience {patience}) stopped training after epoch {epoch}. "
    "By then {plateau} had counted {waited:plural(# epoch|# epochs)} without improvement of '{monitor}', and it waits "
    "for {plateau_patience}.",
)
ADVICE = Text(
    "patience-conflict.advice",
    """\
Leave epochs for the lower rate: let ReduceLROnPlateau act after less than half the epochs EarlyStopping waits for:

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where EarlyStopping ended the fit and the rate was lowered in its last epoch or, though the plateau had
    lasted as long as EarlyStopping waits, never."""
    watching = watchers(facts.trace)
    plateaus = [w for w in watching if w.kind == "plateau"]
    stopping = [w for w in watching if w.kind == "early-stopping"]
    if not plateaus or not stopping:
        return not_applicable(NAME, NO_PLATEAU() if not plateaus else NO_STOPPING())
    if not facts.epochs or not plateaus[0].finished:
        return not_applicable(NAME, NOT_END())
    plateau = next((w for w in plateaus if w.best is not None), None)
    if plateau is None:
        return not_applicable(NAME, NEVER_SAW(callback=plateaus[0].callback, monitor=plateaus[0].monitor))
    stop = next((w for w in stopping if w.stopped(facts.trace)), None)
    lowered = _lowered(facts, plateau)
    evidence: dict[str, Any] = {
        "plateau": _settings(plateau),
        "stopping": [_settings(w) for w in stopping],
        "last_epoch": facts.epochs[-1].epoch,
        "lowered_in_epochs": [e.epoch for e in lowered],
        "rate": facts.epochs[-1].learning_rate,
        "plateau_waited": plateau.settings.get("wait"),
    }
    if stop is None:
        title = NOT_STOPPED(stopping=stopping[0].callback, plateau=plateau.callback)
        return Finding(NAME, "passed", title, evidence, "", plateau.monitor)
    stale = next((w for w in (stop, plateau) if w.best is not None and w.best == w.best_at_start), None)
    if stale is not None:
        # Keras 3.12 keeps `best` of both between fits: what they counted is not this fit's.
        return not_applicable(NAME, STALE(callback=stale.callback), evidence)
    return _judged(facts, plateau, stop, lowered, evidence)


def _judged(
    facts: Facts, plateau: Watcher, stop: Watcher, lowered: list[Event[LearningRate]], evidence: dict[str, Any]
) -> Finding:
    last = facts.epochs[-1]
    before = [e for e in lowered if e.epoch is not None and e.epoch < last.epoch]
    patience = int(stop.settings.get("patience") or 0)
    waited = int(plateau.settings.get("wait") or 0)
    said: dict[str, Any] = {
        "plateau": plateau.callback,
        "plateau_patience": plateau.settings.get("patience"),
        "stopping": stop.callback,
        "patience": patience,
        "epoch": last.epoch,
        "monitor": plateau.monitor,
        "waited": waited,
    }
    if before:
        title = LOWERED(plateau=plateau.callback, epochs=[e.epoch for e in before])
        return Finding(NAME, "passed", title, evidence, "", plateau.monitor)
    if lowered:
        detail = lowered[-1].detail
        title = LOWERED_LAST(**said, before=detail.before, after=detail.after)
        return Finding(NAME, "failed", title, evidence, _advice(plateau, stop), plateau.monitor)
    if last.learning_rate is not None and last.learning_rate <= float(plateau.settings.get("min_lr") or 0.0):
        return not_applicable(NAME, AT_LOWEST(plateau=plateau.callback), evidence)
    if waited < max(patience, 1):
        return Finding(NAME, "passed", IMPROVED(**said), evidence, "", plateau.monitor)
    return Finding(NAME, "failed", NEVER_LOWERED(**said), evidence, _advice(plateau, stop), plateau.monitor)


def _lowered(facts: Facts, w: Watcher) -> list[Event[LearningRate]]:
    return [
        e
        for e in facts.trace.events_of(LearningRate)
        if e.detail.callback == w.callback
        and e.detail.before is not None
        and e.detail.after is not None
        and e.detail.after < e.detail.before
    ]


def _settings(w: Watcher) -> dict[str, Any]:
    return {"callback": w.callback, "monitor": w.monitor, "patience": w.settings.get("patience")}


def _advice(plateau: Watcher, stop: Watcher) -> Said:
    patience = max(2, int(stop.settings.get("patience") or 0))
    code = f"""\
callbacks = [
    {own_call(plateau, patience=max(1, patience // 2 - 1))},
    {own_call(stop, patience=max(4, patience))},
]"""
    return ADVICE(code=code)
