"""Rule `checkpoint-on-training-metric`: ModelCheckpoint keeps the weights of the best logged training value, and they
do not have it (tensorflow/similarity#282)."""

from __future__ import annotations

import math
from typing import Any

from diagnose.decide.kept import Kept, kept_by
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import MATERIAL, not_applicable, timing
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import Epoch

NAME = "checkpoint-on-training-metric"

NONE = Text("checkpoint-on-training-metric.none", "No ModelCheckpoint keeps the best of a logged value.")
VALIDATION = Text(
    "checkpoint-on-training-metric.validation",
    "{callback} watches {monitors:quoted}: validation values, computed with the weights that it saves.",
)
IN_BATCHES = Text(
    "checkpoint-on-training-metric.in-batches", "{callback} saves every {frequency} batches, not at the end of epochs."
)
NO_END = Text(
    "checkpoint-on-training-metric.no-end", "The fit did not reach its end: what {callback} kept is not known."
)
SAVED_NONE = Text("checkpoint-on-training-metric.saved-none", "{callback} saved no epoch of this fit by '{monitor}'.")
CHANGED = Text(
    "checkpoint-on-training-metric.changed", "{who} changed the weights at the end of epoch {epoch}, the one saved."
)
KERAS = Text("checkpoint-on-training-metric.keras", "Keras itself")
NOT_EVALUATED = Text("checkpoint-on-training-metric.not-evaluated", "The saved weights were not evaluated: {why}.")
NOT_ANALYSED = Text("checkpoint-on-training-metric.not-analysed", "epoch {epoch} was not analysed on the rows of fit")
NOT_FINITE = Text("checkpoint-on-training-metric.not-finite", "The {monitor} of the saved weights is no finite number.")
SAME = Text(
    "checkpoint-on-training-metric.same",
    "The file {callback} wrote after epoch {epoch} has the {monitor} logged for it: {logged:number}, evaluated "
    "{saved:number}.",
)
_KEPT = (
    "{callback} kept epoch {epoch} as its best ({monitor} {logged:number}), but the weights in the file give "
    "{saved:number} on the same rows. The logged value was "
)
FAILED = Text(
    "checkpoint-on-training-metric.failed",
    f"{_KEPT}averaged over its {{steps}} batches, while the weights moved.",
)
FAILED_ONE_STEP = Text("checkpoint-on-training-metric.failed-one-step", f"{_KEPT}computed before its update.")
ADVICE = Text(
    "checkpoint-on-training-metric.advice",
    """\
Watch a value that is computed with the weights that are saved. Validation data may be the training data itself:

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where the weights at the end of the best epoch give another value over that epoch's rows."""
    watching = [d for d in facts.decisions if d.kind == "checkpoint"]
    if not watching:
        return not_applicable(NAME, NONE())
    decision = next((d for d in watching if d.on_training_value), None)
    if decision is None:
        monitors = [d.monitor for d in watching]
        title = VALIDATION(callback=watching[0].callback, monitors=monitors)
        return Finding(NAME, "passed", title, {"monitors": monitors}, "")
    frequency = decision.settings.get("save_freq", "epoch")
    if frequency != "epoch":
        return not_applicable(NAME, IN_BATCHES(callback=decision.callback, frequency=frequency))
    if facts.trace.final is None:
        return not_applicable(NAME, NO_END(callback=decision.callback))
    kept = kept_by(facts.trace, decision)
    if kept is None or kept.epoch.logs.get(decision.monitor) is None:
        return not_applicable(
            NAME,
            SAVED_NONE(callback=decision.callback, monitor=decision.monitor),
            {"monitor": decision.monitor, "best": decision.settings.get("best")},
        )
    best = kept.epoch
    changed = _changed_at_end(facts, best)
    if changed is not None:
        return not_applicable(NAME, CHANGED(who=changed, epoch=best.epoch), {"epoch": best.epoch})
    return _judged(facts, decision, kept)


def _judged(facts: Facts, decision: Watcher, kept: Kept) -> Finding:
    best = kept.epoch
    monitor, logged = decision.monitor, float(best.logs[decision.monitor])
    ledger, at = facts.ledger(monitor, best.epoch), facts.clock(monitor, best.epoch).span
    evidence: dict[str, Any] = {
        "callback": decision.callback,
        "monitor": monitor,
        "epoch": best.epoch,
        "version": best.last_version,
        "logged": logged,
        "known_by": kept.known_by,
        "computed_at_versions": None if at is None else [at.first, at.last],
        "saved_weights": None,
    }
    value = facts.measured.reevaluated.get(best.epoch, {}).get(monitor)
    if ledger is not None:
        evidence["by_timing"] = timing(ledger)
        evidence["residual"] = ledger.residual
    doubt = 0.0 if ledger is None else 2 * abs(ledger.residual)
    if value is not None and _same_rows(facts, monitor):
        moved = value - logged
    elif ledger is not None:
        moved = timing(ledger)  # of all there is between the two values, this is what concerns the same rows
    else:
        why = facts.measured.no_replay or NOT_ANALYSED(epoch=best.epoch)
        return not_applicable(NAME, NOT_EVALUATED(why=why), evidence)
    saved = evidence["saved_weights"] = logged + moved
    said = {"callback": decision.callback, "epoch": best.epoch, "monitor": monitor, "logged": logged, "saved": saved}
    size = max(abs(logged), abs(saved))
    if not math.isfinite(moved):
        return not_applicable(NAME, NOT_FINITE(monitor=monitor), evidence)
    if abs(moved) <= doubt or abs(moved) < MATERIAL * size or moved == 0.0:
        return Finding(NAME, "passed", SAME(**said), evidence, "", monitor, abs(moved))
    steps = 0 if at is None else at.last - at.first + 1
    one = steps <= 1 or facts.averaged(monitor, best.epoch) == 1
    title = FAILED_ONE_STEP(**said) if one else FAILED(**said, steps=steps)
    return Finding(NAME, "failed", title, evidence, _advice(monitor, decision), monitor, abs(moved))


def _changed_at_end(facts: Facts, epoch: Epoch) -> str | None:
    """Who changed weights in the hook that ModelCheckpoint saves in; what it saved is then either of two."""
    for event in facts.trace.events_of(WeightsChanged):
        if event.epoch == epoch.epoch and event.detail.hook == "on_epoch_end":
            return event.detail.callback or KERAS()
    return None


def _same_rows(facts: Facts, monitor: str) -> bool:
    """Whether a ledger shows that the evaluation data are the rows of an epoch."""
    ledgers = [x for x in facts.ledgers if x.metric == monitor]
    return any(all(e.factor != "data-coverage" for e in x.entries) for x in ledgers)


def _advice(monitor: str, decision: Watcher) -> Said:
    own = own_call(decision, monitor=f"val_{monitor}")
    return ADVICE(code=f"model.fit(x, y, epochs=..., validation_data=(x, y),\n          callbacks=[{own}])")
