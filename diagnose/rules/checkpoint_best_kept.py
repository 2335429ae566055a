"""Rule `checkpoint-best-kept`: a ModelCheckpoint that was used before compares with the best of an earlier fit, and so
saves nothing of this one (keras#2768; Keras 3.15.1 as before)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.better import best as best_of
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.earlier_fit import continues
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import Code, own_call

NAME = "checkpoint-best-kept"


def check(facts: Facts) -> Finding:
    """Fails where the best a ModelCheckpoint began with is that of another model, and it wrote no file."""
    watching = [w for w in watchers(facts.trace) if w.kind == "checkpoint"]
    if not watching:
        return not_applicable(NAME, "No ModelCheckpoint keeps the best of a logged value.")
    if watching[0].start is None:
        return not_applicable(NAME, "The trace does not say what ModelCheckpoint began this fit with.")
    used = [w for w in watching if w.best_at_start is not None and w.used_before]
    if not used:
        if any(w.best_at_start is not None for w in watching):
            return not_applicable(NAME, "The value to improve on was given by the script (`initial_value_threshold`).")
        return not_applicable(NAME, f"{watching[0].callback} began this fit without a best.")
    known = [w for w in used if w.finished and w.compared_for is not None and w.valued(facts.trace)]
    if not known:
        return not_applicable(NAME, f"What {used[0].callback} kept in this fit is not known.")
    findings = [_judged(facts, w) for w in known]
    return next((f for f in findings if f.status == "failed"), findings[0])


def _judged(facts: Facts, w: Watcher) -> Finding:
    found = best_of(w.valued(facts.trace), w.compared_for)
    assert found is not None
    own, value = found
    saves, file = w.saves(facts.trace), w.settings.get("filepath")
    goes_on = continues(facts)
    evidence: dict[str, Any] = {
        "callback": w.callback,
        "monitor": w.monitor,
        "file": file,
        "best_at_start": w.best_at_start,
        "best_after": w.best,
        "own_best_epoch": own.epoch,
        "own_best_logged": value,
        "saved_epochs": [e.epoch for e in saves],
        "continues_earlier_fit": goes_on,
    }
    began = f"{w.callback} began this fit with the best of an earlier one, {w.monitor} {number(w.best_at_start)}"
    if w.best != w.best_at_start:
        title = f"{began}; epoch {own.epoch} ({number(value)}) improved on it and was saved."
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    if saves:
        title = f"{w.callback} wrote its file after epoch {saves[-1].epoch}, though nothing improved on its best."
        return not_applicable(NAME, title, evidence)
    if goes_on:
        title = f"{began}, of the weights that this fit goes on from; its file holds what none of these epochs reached."
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    title = (
        f"{w.callback} saved nothing in this fit: it still compares with the best of an earlier one, {w.monitor} "
        f"{number(w.best_at_start)}, and this model reached {number(value)} (epoch {own.epoch}). "
        f"'{file}' is not a file of this model."
    )
    return Finding(NAME, "failed", title, evidence, _advice(w), w.monitor, abs(value - float(w.best_at_start or 0.0)))


def _advice(w: Watcher) -> str:
    best = own_call(w, filepath=Code('f"fold-{fold}.keras"'))
    return f"""\
Make a new ModelCheckpoint, with a file of its own, for each fit:

```python
for fold in range(5):
    model = build_model()
    best = {best}
    model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[best])
```
"""
