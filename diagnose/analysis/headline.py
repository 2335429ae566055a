"""Puts a verdict into one sentence with its numbers. Says "one update late" only where replay confirmed it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from diagnose.decide import not_finite
from diagnose.result.diagnosis import Finding, Ledger, Restoration
from diagnose.rules.common import number, timing
from diagnose.rules.facts import Facts
from diagnose.tracefile.reader import Trace

MODES = ("dropout", "batch-norm", "augmentation", "other-training-mode")
_WORDS = {
    "weights-lag": "each batch was scored before its own update",
    "weights-drift": "the weights moved on within the epoch",
    "restored-weights": "the model after fit holds other weights",
    "dropout": "dropout or noise is active in fit only",
    "batch-norm": "batch normalisation uses batch statistics in fit only",
    "augmentation": "augmentation is active in fit only",
    "other-training-mode": "a layer or the model's own step does something else in training",
    "class-weights": "samples are weighted in fit only",
    "data-coverage": "fit and evaluate went over different rows",
    "aggregation": "the metric depends on how rows are batched",
}

NO_HEADLINE = "No sentence could be made of this fit; the tables hold what was measured."

STATEFUL = "a stateful layer goes on from where fit left it"


def restoration_sentence(r: Restoration) -> Restoration:
    """The verdict with its sentence."""
    return replace(r, sentence=_sentence(r))


def _sentence(r: Restoration) -> str:
    logged = f"{r.monitor} {number(r.best_logged)}"
    held = "" if r.restored_value is None else f" {r.monitor} {number(r.restored_value)}"
    if r.best_logged is not None and math.isnan(r.best_logged):
        return _of_nan(r)
    if r.verdict in ("shifted", "no-owner") and r.chosen_epoch == r.restored_epoch != r.best_epoch:
        gives = f", which evaluates to{held}" if held else ""
        return (
            f"{r.callback} restored epoch {r.restored_epoch}{gives}: by its own settings that was its best. "
            f"The best {logged} was logged under epoch {r.best_epoch}."
        )
    if r.verdict == "aligned":
        value = f"; evaluated again, they give{held}" if held else ""
        where = f"(epoch {r.best_epoch}, version {r.restored_version})"
        return f"{r.callback} restored the weights that produced the best {logged} {where}{value}."
    if r.verdict == "shifted" and r.shift_updates is not None and r.owner_versions:
        updates = f"{abs(r.shift_updates)} update{'s' if abs(r.shift_updates) != 1 else ''}"
        when = "late" if r.shift_updates > 0 else "early"
        proof = "" if r.confirmed else " (by the order of events; not replayed)"
        got = f" Evaluated, the restored model gives{held}." if held else ""
        return (
            f"{r.callback} restored epoch {r.restored_epoch}, {updates} too {when}: the best {logged}, "
            f"logged under epoch {r.best_epoch}, was computed with version {r.owner_versions[-1]}, "
            f"but the model holds version {r.restored_version}{proof}.{got}"
        )
    if r.verdict == "no-owner":
        span = r.computed_at
        over = f" (versions {span.first} to {span.last})" if span is not None and span.first != span.last else ""
        got = f" The restored model (end of epoch {r.restored_epoch}) gives{held}." if held else ""
        first = f"No model has the best {logged} that {r.callback} went by"
        if r.confirmed is False:
            return f"{first}: replay did not reproduce it.{got}"
        if span is None:
            return f"Which weights the best {logged}, that {r.callback} went by, was computed with is not known.{got}"
        return f"{first}: it was averaged over weights that changed during epoch {r.best_epoch}{over}.{got}"
    if r.verdict == "replaced":
        who = f" by {r.written_by}" if r.written_by else ""
        return f"The weights do not all come from training steps: some were written{who}." + (
            f" The model after fit gives{held}; the best logged was {logged} (epoch {r.best_epoch})." if held else ""
        )
    if r.best_epoch is None:
        why = next((n for n in r.notes if n.endswith("so nothing was kept as best.")), None)
        why = f"{r.callback} never saw '{r.monitor}' in the logs" if why is None else why.rpartition(", so")[0]
        return f"Nothing was restored: {why}."
    return (
        f"Nothing was restored: the model after fit holds the last weights"
        f"{f' ({held.strip()})' if held else ''}; the best {logged} was logged under epoch {r.best_epoch}."
    )


def with_notes(r: Restoration | None, ledgers: Sequence[Ledger], trace: Trace) -> Restoration | None:
    """Adds what a verdict on weights cannot show: that even the owner does not give the number in inference mode, and
    that a restore sets what replicas had for themselves."""
    if r is None or r.verdict not in ("shifted", "aligned"):
        return r
    if _other_replicas_changed(trace, r.restored_version):
        r = replace(r, notes=(*r.notes, REPLICAS_NOTE))
    ledger = next((x for x in ledgers if x.metric == r.monitor and x.epoch == r.best_epoch), None)
    if ledger is None:
        return r
    mode = [e for e in ledger.entries if e.factor in MODES and e.amount != 0.0]
    if not mode:
        return r
    parts = ", ".join(f"{e.factor} {e.amount:+.6g}" for e in mode)
    note = f"Even the weights that own {r.monitor} {number(r.best_logged)} do not give it in inference mode: {parts}."
    return replace(r, notes=(*r.notes, note))


def _of_nan(r: Restoration) -> str:
    seen = f"{r.callback} saw '{r.monitor}' as NaN only, and NaN compares with nothing"
    if r.verdict == "not-restored":
        return f"Nothing was restored: {seen}."
    if r.restored_epoch == r.best_epoch:
        return f"{r.callback} restored the end of epoch {r.best_epoch}, the first that it saw: {seen}."
    return f"{seen}; the model does not hold the end of epoch {r.best_epoch}, the first that it saw."


REPLICAS_NOTE = (
    "Each replica had statistics of its own (batch normalisation); restoring gave all of them those of the first "
    "replica, so the restored model is not in every part the one that was scored."
)


def _other_replicas_changed(trace: Trace, version: int | None) -> bool:
    """Whether what other replicas have for themselves after fit is not what they had at this version."""
    places = [i for i, v in enumerate(trace.info.get("variables") or []) if v["group"] == "replica"]
    final, then = trace.final, None if version is None else trace.version(version)
    if not places or final is None or then is None:
        return False
    return any(final.arrays[i] != then.arrays[i] for i in places)


def headline(facts: Facts, findings: Sequence[Finding]) -> str:
    """The most important thing about this fit, in one sentence with its numbers."""
    r = facts.restoration
    if not facts.epochs:
        return "No epoch was finished, so there is no logged value to explain."
    last = facts.epochs[-1]
    told = next((f for f in findings if f.role == "explains-restoration" and f.status == "failed"), None)
    if r is not None and told is not None and told.evidence.get("callback") == r.callback:
        return told.title
    if r is not None and (r.verdict != "not-restored" or r.best_epoch != last.epoch):
        return r.sentence
    stopped = next((f for f in findings if f.role == "explains-stop" and f.status == "failed"), None)
    if stopped is not None:
        return stopped.title
    lead = next((f for f in findings if f.status == "failed"), None)
    if lead is not None and lead.role != "explains-gap":
        return lead.title
    threshold = next((d for d in facts.decisions if d.kind == "threshold"), None)
    if threshold is not None and not threshold.on_training_value:
        held = facts.held_validation.get(threshold.monitor)
        if held is not None and isinstance(last.logs.get(threshold.monitor), (int, float)):
            return _validation(threshold.monitor, last.epoch, float(last.logs[threshold.monitor]), held)
    return _gap(facts, _main_metric(facts) if threshold is None else threshold.monitor)


def _validation(monitor: str, epoch: int, logged: float, held: float) -> str:
    if abs(held - logged) <= 1e-5 * max(abs(logged), 1.0):
        return f"{monitor} {number(logged)} was logged for epoch {epoch}, and the model after fit has it."
    return f"{monitor} {number(logged)} was logged for epoch {epoch}, but the model after fit has {number(held)}."


def _gap(facts: Facts, metric: str) -> str:
    last = facts.epochs[-1]
    ledger = facts.ledger(metric, last.epoch)
    value = not_finite.number(last, metric)
    if value is not None and not math.isfinite(value):
        first, batch = not_finite.first_logged(facts.trace), not_finite.first_batch(facts.trace)
        began = [x.text for x in (first, batch) if x is not None]
        return f"fit logged {metric} {number(value)} for epoch {last.epoch}. What came first: {'; '.join(began)}."
    if ledger is None:
        reason = f" ({facts.no_replay})" if facts.no_replay else ""
        logged = number(last.logs.get(metric))
        if any(c.epoch == last.epoch and c.steps for c in facts.checks.values()):
            missing = "there is no evaluation to compare it with"
        else:
            missing = "it was not replayed"
        return f"fit logged {metric} {logged} for epoch {last.epoch}; {missing}{reason}."
    start = f"fit logged {metric} {number(ledger.logged)} for epoch {last.epoch}"
    if abs(ledger.gap) <= 1e-6 * abs(ledger.logged):
        return f"{start}, and evaluate returns the same: there is no gap."
    largest = sorted((e for e in ledger.entries if e.amount != 0.0), key=lambda e: -abs(e.amount))[:2]
    words = _WORDS | ({"other-training-mode": STATEFUL} if facts.from_zero_state else {})
    because = " and ".join(f"{words[e.factor]} ({e.amount:+.4g})" for e in largest)
    reason = f", mostly because {because}" if because else ", and nothing that was measured explains it"
    return f"{start}; evaluate returns {number(ledger.evaluated)}{reason}."


def _main_metric(facts: Facts) -> str:
    """The metric a person looks at first: accuracy-like ones before loss, if their gap has to do with timing."""
    last = facts.epochs[-1]
    for name in last.logs:
        ledger = facts.ledger(name, last.epoch)
        if "acc" in name and ledger is not None and abs(timing(ledger)) > 0:
            return name
    return "loss"
