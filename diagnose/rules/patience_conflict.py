"""Rule `patience-conflict`: ReduceLROnPlateau waits as long as EarlyStopping, so that no epoch is trained at a lower
rate (yolov3-tf2#181)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Event

NAME = "patience-conflict"


def check(facts: Facts) -> Finding:
    """Fails where EarlyStopping ended the fit and the rate was lowered in its last epoch or, though the plateau had
    lasted as long as EarlyStopping waits, never."""
    watching = watchers(facts.trace)
    plateaus = [w for w in watching if w.kind == "plateau"]
    stopping = [w for w in watching if w.kind == "early-stopping"]
    if not plateaus or not stopping:
        missing = "ReduceLROnPlateau" if not plateaus else "EarlyStopping"
        return not_applicable(NAME, f"No {missing} in this fit.")
    if not facts.epochs or not plateaus[0].finished:
        return not_applicable(NAME, "The fit did not reach its end.")
    plateau = next((w for w in plateaus if w.best is not None), None)
    if plateau is None:
        return not_applicable(NAME, f"{plateaus[0].callback} never saw '{plateaus[0].monitor}'.")
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
        title = f"{stopping[0].callback} did not stop this fit, so {plateau.callback} had all its epochs."
        return Finding(NAME, "passed", title, evidence, "", plateau.monitor)
    stale = next((w for w in (stop, plateau) if w.best is not None and w.best == w.best_at_start), None)
    if stale is not None:
        # Keras 3.12 keeps `best` of both between fits: what they counted is not this fit's.
        return not_applicable(NAME, f"{stale.callback} compared with the best of an earlier fit.", evidence)
    return _judged(facts, plateau, stop, lowered, evidence)


def _judged(facts: Facts, plateau: Watcher, stop: Watcher, lowered: list[Event], evidence: dict[str, Any]) -> Finding:
    last = facts.epochs[-1]
    before = [e for e in lowered if e.epoch is not None and e.epoch < last.epoch]
    patience = int(stop.settings.get("patience") or 0)
    waited = int(plateau.settings.get("wait") or 0)
    ends = f"{stop.callback} (patience {patience}) stopped training after epoch {last.epoch}"
    if before:
        epochs = ", ".join(str(e.epoch) for e in before)
        title = f"{plateau.callback} lowered the rate after epoch {epochs}, before training was stopped."
        return Finding(NAME, "passed", title, evidence, "", plateau.monitor)
    if lowered:
        rates = f"{number(lowered[-1].detail.get('before'))} to {number(lowered[-1].detail.get('after'))}"
        title = (
            f"{plateau.callback} (patience {plateau.settings.get('patience')}) lowered the learning rate, {rates}, in "
            f"the very epoch {last.epoch} after which {stop.callback} (patience {patience}) stopped: no epoch was "
            f"trained at the lower rate."
        )
        return Finding(NAME, "failed", title, evidence, _advice(plateau, stop), plateau.monitor)
    if last.learning_rate is not None and last.learning_rate <= float(plateau.settings.get("min_lr") or 0.0):
        return not_applicable(NAME, f"The learning rate was at {plateau.callback}'s `min_lr` from the start.", evidence)
    if waited < max(patience, 1):
        title = f"{ends}; '{plateau.monitor}' had improved {_epochs(waited)} before, so there was no plateau."
        return Finding(NAME, "passed", title, evidence, "", plateau.monitor)
    title = (
        f"{plateau.callback} never lowered the learning rate: {ends}. By then {plateau.callback} had counted "
        f"{_epochs(waited)} without improvement of '{plateau.monitor}', and it waits for "
        f"{plateau.settings.get('patience')}."
    )
    return Finding(NAME, "failed", title, evidence, _advice(plateau, stop), plateau.monitor)


def _lowered(facts: Facts, w: Watcher) -> list[Event]:
    return [
        e
        for e in facts.trace.events
        if e.kind == "learning-rate"
        and e.detail.get("callback") == w.callback
        and float(e.detail["after"]) < float(e.detail["before"])
    ]


def _settings(w: Watcher) -> dict[str, Any]:
    return {"callback": w.callback, "monitor": w.monitor, "patience": w.settings.get("patience")}


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _advice(plateau: Watcher, stop: Watcher) -> str:
    patience = max(2, int(stop.settings.get("patience") or 0))
    return f"""\
Leave epochs for the lower rate: let ReduceLROnPlateau act after less than half the epochs EarlyStopping waits for:

```python
callbacks = [
    {own_call(plateau, patience=max(1, patience // 2 - 1))},
    {own_call(stop, patience=max(4, patience))},
]
```
"""
