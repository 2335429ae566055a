"""Puts a verdict into one sentence with its numbers. Says "one update late" only where replay confirmed it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diagnose.analysis.mixed import HELD_VALUE, mixed
from diagnose.analysis.own_number import THEN, causes, largest, own_number, slip
from diagnose.decide import not_finite
from diagnose.decide.mixtures import Mixture, held_mixture
from diagnose.decide.verdict import NEVER_SAW, NOT_KEPT, OTHER_LOSS
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding, Ledger, Restoration
from diagnose.result.texts import Said, Text
from diagnose.rules.common import timing
from diagnose.rules.facts import Facts
from diagnose.rules.not_finite import said_of
from diagnose.rules.size import scale
from diagnose.tracefile.reader import Trace

MODES = ("dropout", "batch-norm", "augmentation", "other-training-mode")
GAP = Text(
    "headline.gap",
    "fit logged {metric} {logged:number} for epoch {epoch}; evaluate{same:given( over the same rows|)} returns "
    "{evaluated:number}"
    "{causes:given(, mostly because {causes:and}|, and nothing that was measured explains it)}.",
)
UNPROVEN = Text(
    "headline.unproven",
    "fit logged {metric} {logged:number} for epoch {epoch}; evaluate{same:given( over the same rows|)} returns "
    "{evaluated:number}. Why is not known: {reproduced} of {steps:plural(# step|# steps)} of this epoch came out as "
    "recorded.",
)
UNEXPLAINED = Text(
    "headline.unexplained",
    "fit logged {metric} {logged:number} for epoch {epoch}; evaluate{same:given( over the same rows|)} returns "
    "{evaluated:number}. Most of the difference is not explained: replay leaves {residual:signed}, more than any cause "
    "that was found.",
)
NO_GAP = Text(
    "headline.no-gap",
    "fit logged {metric} {logged:number} for epoch {epoch}, and evaluate{same:given( over the same rows|)} returns the "
    "same: there is no gap.",
)
NO_LEDGER = Text(
    "headline.no-ledger",
    "fit logged {metric} {logged:number} for epoch {epoch}; {missing:select(evaluation=there is no evaluation to "
    "compare it with|replay=it was not replayed)}{reason:given( ({reason}))}.",
)
NOT_FINITE = Text(
    "headline.not-finite",
    "fit logged {metric} {logged:number} for epoch {epoch}. What came first: {first}{second:given(; {second})}."
    "{origin:given( {origin}|)}",
)
HELD = Text("headline.held", "{monitor} {logged:number} was logged for epoch {epoch}, and the model after fit has it.")
NOT_HELD = Text(
    "headline.not-held",
    "{monitor} {logged:number} was logged for epoch {epoch}, but the model after fit has {held:number}.",
)
NO_EPOCH = Text("headline.no-epoch", "No epoch was finished, so there is no logged value to explain.")
NO_HEADLINE = Text("headline.none", "No sentence could be made of this fit; the tables hold what was measured.")

OWN_SETTINGS = Text(
    "restoration.own-settings",
    "{callback} restored epoch {restored}{held:given(, which evaluates to {monitor} {held:number})}: by its own "
    "settings that was its best. The best {monitor} {best:number} was logged under epoch {epoch}.",
)
ALIGNED = Text(
    "restoration.aligned",
    "{callback} restored the weights that produced the best {monitor} {best:number} (epoch {epoch}, version {version})"
    "{held:given(; evaluated again, they give {monitor} {held:number})}"
    "{other_loss:given(, because the loss itself gives another value now)}.",
)
SHIFTED = Text(
    "restoration.shifted",
    "{callback} restored epoch {restored}, {updates:plural(# update|# updates)} too {late:given(late|early)}: the best "
    "{monitor} {best:number}, logged under epoch {epoch}, was computed with version {owner}, but the model holds "
    "version {version}{confirmed:given(| (by the order of events; not replayed))}."
    "{held:given( Evaluated, the restored model gives {monitor} {held:number}.)}",
)
_NO_MODEL = "No model has the best {monitor} {best:number} that {callback} went by: "
_GIVES = "{held:given( The restored model (end of epoch {restored}) gives {monitor} {held:number}.)}"
NOT_REPRODUCED = Text("restoration.not-reproduced", f"{_NO_MODEL}replay did not reproduce it.{_GIVES}")
NOT_KNOWN = Text(
    "restoration.not-known",
    "Which weights the best {monitor} {best:number}, that {callback} went by, was computed with is not known."
    f"{_GIVES}",
)
AVERAGED = Text(
    "restoration.averaged",
    f"{_NO_MODEL}it was averaged over weights that changed during epoch {{epoch}}"
    f"{{first:given( (versions {{first}} to {{last}}))}}.{_GIVES}",
)
LOSS_CHANGED = Text(
    "restoration.loss-changed",
    "{callback} went by {monitor} {best:number} (epoch {epoch}), a value of a loss that gives another value now, with "
    f"the same weights and rows.{_GIVES}",
)
REPLACED = Text(
    "restoration.replaced",
    "The weights do not all come from training steps: some were written{writer:given( by {writer})}."
    "{average:given({trainable:given( The trainable ones| They)} are {average}.)}"
    "{held:given( The model after fit gives {monitor} {held:number}; the best logged was {monitor} {best:number} "
    "(epoch {epoch}).)}",
)
PUT_BACK = Text(
    "restoration.put-back",
    "{callback} put back {part:select(whole=the weights|trainable=the trainable weights)} of "
    "{epoch:given({end:given(the end of |)}epoch {epoch}|the beginning of the fit)} (version {version})"
    "{reads:given(, which it chose by {several:given(a score of )}{reads:and}|; by what it chose is not known)}"
    "{part:select(whole=|trainable=; the others, statistics of layers, are not of that version)}."
    "{held:given( With the weights after fit: {held:and}.)}",
)
KEPT_ASIDE = Text(
    "restoration.kept-aside",
    "{callback} keeps the weights of {end:given(the end of |)}epoch {epoch} in `{attribute}`"
    "{reads:given(, chosen by {several:given(a score of )}{reads:and})}, but fit left the model with the last weights."
    "{held:given( These give {held:and}.)}",
)
NOTHING = Text("restoration.nothing", "Nothing was restored: {why}.")
NOTHING_BUT_LAST = Text(
    "restoration.nothing-but-last",
    "Nothing was restored: the model after fit holds the last weights{held:given( ({monitor} {held:number}))}; the "
    "best {monitor} {best:number} was logged under epoch {epoch}.",
)
SAW_NAN = Text("restoration.saw-nan", "{callback} saw '{monitor}' as NaN only, and NaN compares with nothing")
NAN_RESTORED = Text(
    "restoration.nan-restored", "{callback} restored the end of epoch {epoch}, the first that it saw: {saw}."
)
NAN_NOT_HELD = Text(
    "restoration.nan-not-held", "{saw}; the model does not hold the end of epoch {epoch}, the first that it saw."
)
NOT_IN_INFERENCE = Text(
    "restoration.not-in-inference",
    "Even the weights that own {monitor} {best:number} do not give it in inference mode: {parts:list}.",
)
EVALUATED_AGAIN = Text(
    "restoration.evaluated-again",
    "Of {epochs} epochs, {again} were evaluated again, those with the best logged values among them.",
)
PART = Text("restoration.part", "{factor} {amount:+.6g}")
REPLICAS_NOTE = Text(
    "restoration.replicas",
    "Each replica had statistics of its own (batch normalisation); restoring gave all of them those of the first "
    "replica, so the restored model is not in every part the one that was scored.",
)


def restoration_sentence(
    r: Restoration, decision: Watcher, trace: Trace, held: Mapping[str, float] | None = None
) -> Restoration:
    """The verdict with its sentence. `held`: values of the weights after fit, by their names in the logs."""
    own = decision.own
    if own is not None and own.mixture is not None:
        return replace(r, sentence=mixed(own.callback, own.mixture, trace, held or {}))
    if own is None or (own.back and decision.reads_one):
        mixture = None if r.average is None else held_mixture(trace)
        return replace(r, sentence=_sentence(r, mixture))
    epoch = next((e for e in trace.epochs if e.epoch == own.epoch), None)
    said = {
        "callback": own.callback,
        "part": own.part,
        "epoch": own.epoch,
        "end": epoch is not None and epoch.last_version == own.version,
        "version": own.version,
        "attribute": own.attribute,
        "reads": list(own.reads) or None,
        "several": len(own.reads) > 1,
        "held": [
            HELD_VALUE(
                metric=key, value=held[key], epoch=own.epoch, logged=None if epoch is None else epoch.logs.get(key)
            )
            for key in own.reads
            if held and key in held
        ],
    }
    return replace(r, sentence=PUT_BACK(**said) if own.back else KEPT_ASIDE(**said))


def _sentence(r: Restoration, mixture: Mixture | None = None) -> Said:
    said = {
        "callback": r.callback,
        "monitor": r.monitor,
        "best": r.best_logged,
        "epoch": r.best_epoch,
        "held": r.restored_value,
        "restored": r.restored_epoch,
        "version": r.restored_version,
    }
    if r.best_logged is not None and math.isnan(r.best_logged):
        return _of_nan(r)
    if r.verdict in ("shifted", "no-owner") and r.chosen_epoch == r.restored_epoch != r.best_epoch:
        return OWN_SETTINGS(**said)
    if r.verdict == "aligned":
        return ALIGNED(**said, other_loss=r.confirmed is False)
    if r.verdict == "shifted" and r.shift_updates is not None and r.owner_versions:
        return SHIFTED(
            **said,
            updates=abs(r.shift_updates),
            late=r.shift_updates > 0,
            owner=r.owner_versions[-1],
            confirmed=bool(r.confirmed),
        )
    if r.verdict == "no-owner":
        if r.confirmed is False:
            return NOT_REPRODUCED(**said)
        if any(isinstance(n, Said) and n.id == OTHER_LOSS.id for n in r.notes):
            return LOSS_CHANGED(**said)
        span = r.computed_at
        if span is None:
            return NOT_KNOWN(**said)
        several = span.first != span.last
        return AVERAGED(**said, first=span.first if several else None, last=span.last if several else None)
    if r.verdict == "replaced":
        average, part = (None, False) if mixture is None else (mixture.text, mixture.trainable)
        return REPLACED(**said, writer=r.written_by, average=average, trainable=part)
    if r.best_epoch is None:
        kept = (n.params["why"] for n in r.notes if isinstance(n, Said) and n.id == NOT_KEPT.id)
        return NOTHING(why=next(kept, None) or NEVER_SAW(callback=r.callback, monitor=r.monitor))
    return NOTHING_BUT_LAST(**said)


def with_notes(r: Restoration | None, ledgers: Sequence[Ledger], trace: Trace) -> Restoration | None:
    """Adds what a verdict on weights cannot show: that even the owner does not give the number in inference mode, and
    that a restore sets what replicas had for themselves."""
    if r is None or r.verdict not in ("shifted", "aligned"):
        return r
    if _other_replicas_changed(trace, r.restored_version):
        r = replace(r, notes=(*r.notes, REPLICAS_NOTE()))
    ledger = next((x for x in ledgers if x.metric == r.monitor and x.epoch == r.best_epoch), None)
    if ledger is None:
        return r
    mode = [e for e in ledger.entries if e.factor in MODES and e.amount != 0.0]
    if not mode:
        return r
    parts = [PART(factor=e.factor, amount=e.amount) for e in mode]
    note = NOT_IN_INFERENCE(monitor=r.monitor, best=r.best_logged, parts=parts)
    return replace(r, notes=(*r.notes, note))


def _of_nan(r: Restoration) -> Said:
    saw = SAW_NAN(callback=r.callback, monitor=r.monitor)
    if r.verdict == "not-restored":
        return NOTHING(why=saw)
    if r.restored_epoch == r.best_epoch:
        return NAN_RESTORED(callback=r.callback, epoch=r.best_epoch, saw=saw)
    return NAN_NOT_HELD(saw=saw, epoch=r.best_epoch)


def _other_replicas_changed(trace: Trace, version: int | None) -> bool:
    """Whether what other replicas have for themselves after fit is not what they had at this version."""
    places = [i for i, v in enumerate(trace.header.variables) if v.group == "replica"]
    final, then = trace.final, None if version is None else trace.version(version)
    if not places or final is None or then is None:
        return False
    return any(final.arrays[i] != then.arrays[i] for i in places)


def headline(facts: Facts, findings: Sequence[Finding], *, same: bool = False) -> str:
    """The most important thing about this fit with its numbers: the script's own number that is not what fit logged,
    then what is wrong without it; of what the script did not ask for, the one thing.

    Args:
        same: whether the rows of the evaluation are those that fit used.
    """
    if not facts.epochs:
        return NO_EPOCH()
    spoilt = next((f for f in findings if f.rule == "not-finite" and f.status == "failed"), None)
    own = None if spoilt is not None else own_number(facts, findings) or slip(facts)
    told = _told(facts, findings, own is None)
    if own is None and told is None and spoilt is not None and all(map(_is_finite, facts.epochs[-1].logs.values())):
        return spoilt.title  # it is in the weights, and no logged value shows it
    if own is None:
        return _logged(facts, same) if told is None else told
    return own if told is None or told == own else THEN(own=own, then=told)


def _told(facts: Facts, findings: Sequence[Finding], alone: bool) -> str | None:
    """What is to be said of the fit's values, its restore or its end, beside a number of the script's only what is
    wrong; None where that is nothing."""
    r, last = facts.restoration, facts.epochs[-1]
    spoilt = next((f for f in findings if f.role == "spoils-values" and f.status == "failed"), None)
    if spoilt is not None:
        return spoilt.title
    told = next((f for f in findings if f.role == "explains-restoration" and f.status == "failed"), None)
    if r is not None and told is not None and told.evidence.get("callback") == r.callback:
        return told.title
    if r is not None and (r.verdict != "not-restored" or r.best_epoch != last.epoch):
        return r.sentence
    stopped = next((f for f in findings if f.role == "explains-stop" and f.status == "failed"), None)
    if stopped is not None:
        return stopped.title
    lead = next((f for f in findings if f.status == "failed"), None)
    if lead is None or lead.role == "explains-gap" or not (alone or lead.severity == "wrong"):
        return None
    return None if lead.severity == "notable" and _aside(facts, lead) else lead.title


def _aside(facts: Facts, lead: Finding) -> bool:
    """Whether a finding is about a value beside the main ones (the loss of one of several outputs), and moves it less
    than the gap of the main one is: nobody asks for it first."""
    main, last = _main_metric(facts), facts.epochs[-1]
    ledger, value = facts.ledger(main, last.epoch), not_finite.number(last, lead.metric or "loss")
    if lead.effect is None or lead.metric in (None, "loss", main) or ledger is None or not value:
        return False
    return abs(lead.effect / value) < abs(ledger.gap) / (scale(ledger) or 1.0)


def _logged(facts: Facts, same: bool) -> Said:
    """Of a logged value and what `evaluate` gives."""
    threshold, last = next((d for d in facts.decisions if d.kind == "threshold"), None), facts.epochs[-1]
    if threshold is not None and not threshold.on_training_value:
        held = facts.measured.held_validation.get(threshold.monitor)
        if held is not None and isinstance(last.logs.get(threshold.monitor), (int, float)):
            return _validation(threshold.monitor, last.epoch, float(last.logs[threshold.monitor]), held)
    return _gap(facts, _main_metric(facts) if threshold is None else threshold.monitor, same)


def _validation(monitor: str, epoch: int, logged: float, held: float) -> Said:
    text = HELD if abs(held - logged) <= 1e-5 * max(abs(logged), 1.0) else NOT_HELD
    return text(monitor=monitor, logged=logged, epoch=epoch, held=held)


def _gap(facts: Facts, metric: str, same: bool) -> Said:
    last = facts.epochs[-1]
    ledger = facts.ledger(metric, last.epoch)
    value = not_finite.number(last, metric)
    if value is not None and not math.isfinite(value):
        first, batch = not_finite.first_logged(facts.trace), not_finite.first_batch(facts.trace)
        where = facts.measured.origin
        origin = None if where is None else said_of(where)
        began = [*(x.text for x in (first, batch) if x is not None), None]
        return NOT_FINITE(metric=metric, logged=value, epoch=last.epoch, first=began[0], second=began[1], origin=origin)
    if ledger is None:
        replayed = last.epoch in facts.measured.replayed and facts.measured.replayed[last.epoch].steps > 0
        return NO_LEDGER(
            metric=metric,
            logged=last.logs.get(metric),
            epoch=last.epoch,
            missing="evaluation" if replayed else "replay",
            reason=facts.measured.no_replay,
        )
    if abs(ledger.gap) <= 1e-6 * abs(ledger.logged):
        return NO_GAP(metric=metric, logged=ledger.logged, epoch=last.epoch, same=same)
    ends = {"metric": metric, "logged": ledger.logged, "epoch": last.epoch, "evaluated": ledger.evaluated, "same": same}
    again = facts.measured.replayed.get(last.epoch)
    if again is not None and again.reproduced < again.steps:
        return UNPROVEN(**ends, reproduced=again.reproduced, steps=again.steps)
    found = largest(ledger.entries, ledger.residual, ledger.gap)
    if not found and abs(ledger.residual) > 1e-6 * abs(ledger.gap):
        return UNEXPLAINED(**ends, residual=ledger.residual)
    return GAP(**ends, causes=causes(facts, found))


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _main_metric(facts: Facts) -> str:
    """The metric a person looks at first: accuracy-like ones before loss, if their gap has to do with timing. Steps of
    the model's own may log no loss of that name."""
    last = facts.epochs[-1]
    for name in last.logs:
        ledger = facts.ledger(name, last.epoch)
        if "acc" in name and ledger is not None and abs(timing(ledger)) > 0:
            return name
    return "loss" if "loss" in last.logs else next((n for n in last.logs if not n.startswith("val_")), "loss")
