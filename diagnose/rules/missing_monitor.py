"""Rule `missing-monitor`: a callback watches a name that is not in the logs when it looks, so it compares nothing
(tf#33163)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diagnose.decide.better import best as best_of
from diagnose.decide.callbacks import callbacks
from diagnose.decide.not_finite import first_batch, first_logged
from diagnose.decide.watched import Watcher, stopped_by, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.text import short
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules import not_finite
from diagnose.rules.common import NO_EPOCH, NOT_WATCHED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.events import LearningRate, StopRequested, WeightsChanged
from diagnose.tracefile.model import Epoch

NAME = "missing-monitor"

SEEN = Text(
    "missing-monitor.seen",
    "What is watched was in the logs: {watched:list}.{monitor:given( {without} of {epochs} epochs have no '{monitor}'; "
    "they are left out of its patience.)}",
)
WATCHED = Text("missing-monitor.watched", "{callback} '{monitor}'")
OWN_VALUES = Text("missing-monitor.own-values", "{callback} compares values of its own, not '{monitor}'.")
NOT_ALONE = Text("missing-monitor.not-alone", "{callback} does not go by '{monitor}' alone.")
IN_BATCHES = Text("missing-monitor.in-batches", "{callback} looks at batches, not at the end of epochs.")
NO_NUMBER = Text("missing-monitor.no-number", "No epoch gave {callback} a number to look at.")
_LEFT_OUT = (
    "{kind:select(early-stopping=could neither stop training nor restore weights|checkpoint=could not tell which epoch "
    "was the best|plateau=could not lower the learning rate)}"
)
_FILES = (
    "{saves:given(, and wrote its file {saves} times whatever the model was worth, last after epoch {saved_epoch})}"
    "{no_saves:given(, and was not seen to write a file)}"
)
ABSENT = Text(
    "missing-monitor.absent",
    "{callback} watches '{monitor}', which is in no log of this fit ({why:select(validation=fit made no validation "
    "pass|near=the nearest name there is '{near}'|names=they hold {names:list})}): in "
    "{epochs:plural(# epoch|# epochs)} it "
    f"{_LEFT_OUT}{_FILES}.",
)
ALSO = Text(
    "missing-monitor.also",
    f"{{same:given(Another {{callback}}|{{callback}})}} watches it too: it {_LEFT_OUT}{_FILES}.",
)
SAVED_WITHOUT = Text(
    "missing-monitor.saved-without",
    "{callback} wrote its file after epoch {epoch}, which has no '{monitor}' in its log: where the value is missing it "
    "saves whatever the model is worth. The file holds the weights of epoch {epoch}{best:given(, not of the best one "
    "with a value, epoch {best} ({value:number}))}.",
)
TOO_LATE = Text(
    "missing-monitor.too-late",
    "{callback} never saw '{monitor}', though it is in the logs of {epochs:plural(# epoch|# epochs)}: it was put there "
    "after {callback} had looked, by a callback that stands behind it{one:given( ({one}))}"
    "{several:given( (one of {several:list}))}.",
)
NOT_FINITE = Text(
    "missing-monitor.not-finite",
    "'{monitor}' was logged as {values:or} in {epochs:plural(# epoch|# epochs)}, and none of these is better than "
    "another: {kind:select(early-stopping={callback} could not tell one epoch from another|checkpoint={callback} could "
    f"not tell which epoch was the best{_FILES}|plateau={{callback}} could see no improvement)}}"
    "{kept:given(; it kept the first that it saw, and the model holds the end of epoch {kept})}"
    "{stopped:given(. It stopped training after epoch {stopped})}.{first:given( First, {first})}"
    "{batch:given(; in training, {batch}|; no batch of training was)}.",
)
ADVICE_COMPUTE = Text(
    "missing-monitor.advice-compute",
    "Compute the value in every epoch, so that each save is compared:\n\n{code:python}\n",
)
ADVICE_ORDER = Text(
    "missing-monitor.advice-order",
    "Callbacks run in the order of the list. Put the one that adds '{monitor}' to the logs first:\n\n{code:python}\n",
)
ADVICE = Text(
    "missing-monitor.advice",
    "{validation:given(Give `fit` validation data|Watch a name that is in the logs)} "
    "(`print(model.fit(...).history.keys())` shows them all):\n\n{code:python}\n",
)


def check(facts: Facts) -> Finding:
    """Fails where a callback never saw the value it watches, or a checkpoint wrote its file without having it."""
    watching = watchers(facts.trace)
    if not watching:
        return not_applicable(NAME, NOT_WATCHED())
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    judged = [(w, _judged(facts, w)) for w in watching]
    for i, (w, finding) in enumerate(judged):
        if isinstance(finding, Finding):
            also = [other for other, found in judged[i + 1 :] if _same(found, finding)]
            assert isinstance(finding.title, Said)
            return replace(finding, title=sentences(finding.title, *(_also(facts, w, other) for other in also)))
    seen = [w for w, why in judged if why is None]
    if not seen:
        reason = judged[0][1]
        assert isinstance(reason, Said)
        return not_applicable(NAME, reason)
    missing = {w.monitor: _epochs_without(facts, w) for w in seen if _epochs_without(facts, w)}
    monitor = next(iter(missing), None)
    title = SEEN(
        watched=[WATCHED(callback=w.callback, monitor=w.monitor) for w in seen],
        monitor=monitor,
        without=len(missing.get(monitor or "", ())),
        epochs=len(facts.epochs),
    )
    return Finding(NAME, "passed", title, {"monitors": [w.monitor for w in seen], "epochs_without": missing}, "")


def _judged(facts: Facts, w: Watcher) -> Finding | Said | None:
    """A failed finding, None where the callback saw its value, or why that is not known."""
    without = _epochs_without(facts, w)
    if len(without) == len(facts.epochs):
        if w.compared():
            return OWN_VALUES(callback=w.callback, monitor=w.monitor)
        if not w.builtin and _acts_by_itself(facts, w):
            return NOT_ALONE(callback=w.callback, monitor=w.monitor)
        return _absent(facts, w)
    if w.kind == "checkpoint":
        if w.settings.get("save_freq", "epoch") != "epoch":
            return IN_BATCHES(callback=w.callback)
        saved = sorted({e.epoch for e in w.saves(facts.trace) if e.epoch is not None})
        if saved and saved[-1] in without:
            return _saved_without(facts, w, saved, without)
    begins = int(w.settings.get("start_from_epoch") or 0)
    could_see = [e for e, v in w.valued(facts.trace) if math.isfinite(v) and e.epoch > begins]
    blind = [(e, v) for e in facts.epochs if (v := w.logged(e)) is not None and e.epoch > begins]
    if not could_see and blind:
        return _not_finite(facts, w, blind)
    if not could_see:
        return NO_NUMBER(callback=w.callback)
    if w.finished and w.builtin and w.best is None:
        return _too_late(facts, w, could_see)
    return None


def _absent(facts: Facts, w: Watcher) -> Finding:
    names = _names(facts.epochs)
    near = nearest(w.monitor, names)
    validation = w.monitor.startswith("val_") and not facts.validated
    evidence: dict[str, Any] = _evidence(facts, w) | {
        "names": names,
        "nearest": near,
        "validated": facts.validated,
        "epochs_without": [e.epoch for e in facts.epochs],
    }
    title = ABSENT(
        callback=w.callback,
        monitor=w.monitor,
        why="validation" if validation else "near" if near is not None else "names",
        near=near,
        names=names,
        epochs=len(facts.epochs),
        kind=w.kind,
        **_files(facts, w),
    )
    return Finding(NAME, "failed", title, evidence, _advice(w, near, validation), w.monitor)


def _same(found: Finding | Said | None, first: Finding) -> bool:
    """Whether another callback misses the same name in the whole fit."""
    names = ("monitor", "nearest", "validated")
    return (
        isinstance(found, Finding)
        and "nearest" in first.evidence
        and all(found.evidence.get(name) == first.evidence[name] for name in names)
    )


def _also(facts: Facts, w: Watcher, other: Watcher) -> Said:
    same = other.callback == w.callback
    return ALSO(callback=other.callback, same=same, kind=other.kind, **_files(facts, other))


def _files(facts: Facts, w: Watcher) -> dict[str, Any]:
    """What a sentence says of the files it was seen to write."""
    saves = w.saves(facts.trace) if w.kind == "checkpoint" else []
    return {
        "saves": len(saves) or None,
        "saved_epoch": saves[-1].epoch if saves else None,
        "no_saves": w.kind == "checkpoint" and not saves and w.start is not None,
    }


def _saved_without(facts: Facts, w: Watcher, saved: Sequence[int], without: Sequence[int]) -> Finding:
    best = best_of(w.valued(facts.trace), w.compared_for)
    blind = [e for e in saved if e in without]
    evidence = _evidence(facts, w) | {
        "epochs_without": list(without),
        "saved_epochs": list(saved),
        "saved_without": blind,
        "best_epoch": None if best is None else best[0].epoch,
        "best_logged": None if best is None else best[1],
    }
    title = SAVED_WITHOUT(
        callback=w.callback,
        epoch=saved[-1],
        monitor=w.monitor,
        best=None if best is None else best[0].epoch,
        value=None if best is None else best[1],
    )
    code = f"""\
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), validation_freq=1,
          callbacks=[{own_call(w)}])"""
    return Finding(NAME, "failed", title, evidence, ADVICE_COMPUTE(code=code), w.monitor)


def _too_late(facts: Facts, w: Watcher, epochs: Sequence[Epoch]) -> Finding:
    behind = [cb.name for cb in callbacks(facts.trace)[w.place + 1 :] if not cb.of_keras]
    evidence = _evidence(facts, w) | {"logged_in_epochs": [e.epoch for e in epochs], "callbacks_behind": behind}
    title = TOO_LATE(
        callback=w.callback,
        monitor=w.monitor,
        epochs=len(epochs),
        one=behind[0] if len(behind) == 1 else None,
        several=behind if len(behind) > 1 else None,
    )
    code = f"""\
adds_the_value = ...  # the callback that sets logs["{w.monitor}"]
callbacks = [adds_the_value, {own_call(w)}]"""
    return Finding(NAME, "failed", title, evidence, ADVICE_ORDER(monitor=w.monitor, code=code), w.monitor)


def _not_finite(facts: Facts, w: Watcher, seen: Sequence[tuple[Epoch, float]]) -> Finding:
    """The value was there and is none that can be compared."""
    first, batch = first_logged(facts.trace), first_batch(facts.trace)
    r = facts.restoration
    r = r if r is not None and (r.callback, r.monitor) == (w.callback, w.monitor) else None
    kept = None if r is None or r.verdict == "not-restored" else r.restored_epoch
    evidence = _evidence(facts, w) | {
        "logged": {str(e.epoch): v for e, v in seen},
        "first_logged": None if first is None else first.evidence(),
        "first_batch": None if batch is None else batch.evidence(),
        "kept_epoch": kept,
    }
    stopped = w.kind == "early-stopping" and stopped_by(facts.trace) == w.callback
    title = NOT_FINITE(
        monitor=w.monitor,
        values=sorted({short(v) for _, v in seen}),
        epochs=len(seen),
        kind=w.kind,
        callback=w.callback,
        **_files(facts, w),
        kept=kept,
        stopped=facts.epochs[-1].epoch if stopped else None,
        first=None if first is None else first.text,
        batch=None if batch is None else batch.text,
    )
    advice = not_finite.advice(facts, not_finite.rows_of(facts), w)
    return Finding(NAME, "failed", title, evidence, advice, w.monitor)


def nearest(monitor: str, names: Sequence[str]) -> str | None:
    """The name a user most likely meant: the same with "acc" written out or another prefix, else the most alike."""
    prefix, _, rest = monitor.rpartition("val_")
    same_pass = [n for n in names if n.startswith("val_") == monitor.startswith("val_")] if prefix == "" else []
    ends = [n for n in same_pass if n.endswith(rest) or (rest == "acc" and n.endswith("accuracy"))]
    if ends:
        return min(ends, key=len)
    return next(iter(difflib.get_close_matches(monitor, same_pass or names, 1, 0.5)), None)


def _acts_by_itself(facts: Facts, w: Watcher) -> bool:
    """Whether a class of the user's reads other values, or stopped the fit or changed weights without this one."""
    read = (callbacks(facts.trace)[w.place].reads or {}).get("on_epoch_end") or []
    kinds = (StopRequested, WeightsChanged, LearningRate)
    acted = any(isinstance(e.detail, kinds) and e.detail.callback == w.callback for e in facts.trace.events)
    return acted or (bool(read) and w.monitor not in read)


def _epochs_without(facts: Facts, w: Watcher) -> list[int]:
    return [e.epoch for e in facts.epochs if e.logs.get(w.monitor) is None]


def _names(epochs: Sequence[Epoch]) -> list[str]:
    return list(dict.fromkeys(name for e in epochs for name in e.logs))


def _evidence(facts: Facts, w: Watcher) -> dict[str, Any]:
    return {"callback": w.callback, "monitor": w.monitor, "epochs": len(facts.epochs)}


def _advice(w: Watcher, near: str | None, validation: bool) -> Said:
    monitor = w.monitor if validation or near is None else near
    code = f"""\
model.fit(x, y, epochs=..., validation_data=(x_val, y_val),
          callbacks=[{own_call(w, monitor=monitor)}])"""
    return ADVICE(validation=validation, code=code)
