"""Rule `checkpoint-best-kept`: a ModelCheckpoint that was used before compares with the best of an earlier fit, and so
saves nothing of this one (keras#2768; Keras 3.15.1 as before)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.better import best as best_of
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import not_applicable
from diagnose.rules.earlier_fit import continues
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import numbered, own_call

NAME = "checkpoint-best-kept"

NO_CHECKPOINT = Text("checkpoint-best-kept.none", "No ModelCheckpoint keeps the best of a logged value.")
NOT_SAID = Text("checkpoint-best-kept.not-said", "The trace does not say what ModelCheckpoint began this fit with.")
GIVEN = Text(
    "checkpoint-best-kept.given", "The value to improve on was given by the script (`initial_value_threshold`)."
)
WITHOUT_BEST = Text("checkpoint-best-kept.without-best", "{callback} began this fit without a best.")
NOT_KNOWN = Text("checkpoint-best-kept.not-known", "What {callback} kept in this fit is not known.")
_BEGAN = "{callback} began this fit with the best of an earlier one, {monitor} {start:number}"
IMPROVED = Text(
    "checkpoint-best-kept.improved", f"{_BEGAN}; epoch {{epoch}} ({{value:number}}) improved on it and was saved."
)
SAVED = Text(
    "checkpoint-best-kept.saved", "{callback} wrote its file after epoch {epoch}, though nothing improved on its best."
)
GOES_ON = Text(
    "checkpoint-best-kept.goes-on",
    f"{_BEGAN}, of the weights that this fit goes on from; its file holds what none of these epochs reached.",
)
FAILED = Text(
    "checkpoint-best-kept.failed",
    "{callback} saved nothing in this fit: it still compares with the best of an earlier one, {monitor} "
    "{start:number}, and this model reached {value:number} (epoch {epoch}). '{file}' is not a file of this model.",
)


def check(facts: Facts) -> Finding:
    """Fails where the best a ModelCheckpoint began with is that of another model, and it wrote no file."""
    watching = [w for w in watchers(facts.trace) if w.kind == "checkpoint"]
    if not watching:
        return not_applicable(NAME, NO_CHECKPOINT())
    if watching[0].start is None:
        return not_applicable(NAME, NOT_SAID())
    used = [w for w in watching if w.best_at_start is not None and w.used_before]
    if not used:
        if any(w.best_at_start is not None for w in watching):
            return not_applicable(NAME, GIVEN())
        return not_applicable(NAME, WITHOUT_BEST(callback=watching[0].callback))
    known = [w for w in used if w.finished and w.compared_for is not None and w.valued(facts.trace)]
    if not known:
        return not_applicable(NAME, NOT_KNOWN(callback=used[0].callback))
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
    began = {"callback": w.callback, "monitor": w.monitor, "start": w.best_at_start}
    if w.best != w.best_at_start:
        title = IMPROVED(**began, epoch=own.epoch, value=value)
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    if saves:
        title = SAVED(callback=w.callback, epoch=saves[-1].epoch)
        return not_applicable(NAME, title, evidence)
    if goes_on:
        return Finding(NAME, "passed", GOES_ON(**began), evidence, "", w.monitor, 0.0)
    title = FAILED(**began, value=value, epoch=own.epoch, file=None if file is None else str(file))
    return Finding(NAME, "failed", title, evidence, _advice(w), w.monitor, abs(value - float(w.best_at_start or 0.0)))


ADVICE = Text(
    "checkpoint-best-kept.advice",
    "Make a new ModelCheckpoint, with a file of its own, for each fit:\n\n{code:python}\n",
)


def _advice(w: Watcher) -> Said:
    best = own_call(w, filepath=numbered(w.settings.get("filepath"), "fold"))
    code = f"""\
for fold in range(5):
    model = build_model()
    best = {best}
    model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[best])"""
    return ADVICE(code=code)
