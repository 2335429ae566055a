"""Rule `wrong-direction`: a callback looks for the lowest of a metric that is better the higher it is, or the other way
round (keras#15138, #18798).

Until 3.8, Keras's `ModelCheckpoint` and `ReduceLROnPlateau` take the direction from the name (`"acc" in monitor`), so
that `val_auc` is minimised; later ones ask the metric where `mode="auto"`, and only a `mode` that is given is wrong.
"""

from __future__ import annotations

from typing import Any

from diagnose.decide.better import Mode, best, defined
from diagnose.decide.clock import metric_of
from diagnose.decide.kept import kept_epoch
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NOT_WATCHED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.events import LearningRate
from diagnose.tracefile.model import Epoch, Event

NAME = "wrong-direction"

NOT_KNOWN = Text(
    "wrong-direction.not-known", "Which way is better is not known for {monitors:quoted}: no metric that Keras defines."
)
NOT_COMPARED = Text("wrong-direction.not-compared", "No callback compared two different values in this fit.")
LOOKS_FOR = Text("wrong-direction.looks-for", "{callback} the {better:select(min=lowest|max=highest)} '{monitor}'")
RIGHT = Text("wrong-direction.right", "Each looks for the better values: {callbacks:list}.")
_LOOKS = (
    "{callback} looks for the {direction:select(min=lowest|max=highest)} {monitor}{mode:given( (mode='{mode}'))}, "
    "which is better the {better:select(min=lower|max=higher)} it is. "
)
_BEST = "; the best was epoch {best_epoch} ({best:number})."
LOWERED = Text(
    "wrong-direction.lowered",
    f"{_LOOKS}It {{rates:given(lowered the learning rate after epoch {{rates:list}}, counting|counts)}} from epoch "
    f"{{kept_epoch}} ({{kept:number}}){_BEST}",
)
SAVED = Text("wrong-direction.saved", f"{_LOOKS}Its file holds epoch {{kept_epoch}} ({{kept:number}}){_BEST}")
TOOK = Text(
    "wrong-direction.took",
    f"{_LOOKS}It took epoch {{kept_epoch}} ({{kept:number}}) for the best{{did:select(stopped= and stopped training "
    "after epoch {last}|holds=, whose weights the model now holds|both=, whose weights the model now holds, and "
    f"stopped training after epoch {{last}}|none=)}}{_BEST}",
)
ADVICE = Text(
    "wrong-direction.advice",
    'Say which way is better, whatever the release takes "auto" for:\n\n{code:python}\n',
)


def check(facts: Facts) -> Finding:
    """Fails where a callback's comparison runs against the direction of the metric it watches, and it compared
    different values."""
    watching = watchers(facts.trace)
    if not watching:
        return not_applicable(NAME, NOT_WATCHED())
    known = [(w, defined(facts.trace, metric_of(facts.trace, w.monitor))) for w in watching]
    if all(better is None for _, better in known):
        return not_applicable(NAME, NOT_KNOWN(monitors=[w.monitor for w in watching]))
    judged = [(w, better, _values(facts, w)) for w, better in known if better is not None and w.compared_for]
    judged = [(w, better, values) for w, better, values in judged if len({v for _, v in values}) > 1]
    if not judged:
        return not_applicable(NAME, NOT_COMPARED())
    wrong = [x for x in judged if x[0].compared_for != x[1]]
    if wrong:
        return _failed(facts, wrong[0][0], wrong[0][1], wrong[0][2], [w.callback for w, _, _ in wrong])
    names = [LOOKS_FOR(callback=w.callback, better=better, monitor=w.monitor) for w, better, _ in judged]
    monitors = [w.monitor for w, _, _ in judged]
    return Finding(NAME, "passed", RIGHT(callbacks=names), {"monitors": monitors}, "")


def _failed(facts: Facts, w: Watcher, better: Mode, values: list[tuple[Epoch, float]], callbacks: list[str]) -> Finding:
    direction, number_kept = w.compared_for, kept_epoch(facts.trace, w)
    first, wanted = best(values, direction), best(values, better)
    assert direction is not None and first is not None and wanted is not None
    kept = next((pair for pair in values if pair[0].epoch == number_kept), first)
    rates = [e.epoch for e in _lowered(facts, w)]
    evidence: dict[str, Any] = {
        "callback": w.callback,
        "monitor": w.monitor,
        "mode": w.settings.get("mode"),
        "compared_for": direction,
        "better": better,
        "kept_epoch": kept[0].epoch,
        "kept_logged": kept[1],
        "best_epoch": wanted[0].epoch,
        "best_logged": wanted[1],
        "last_epoch": facts.epochs[-1].epoch,
        "rate_lowered_in_epochs": rates,
        "callbacks": callbacks,
    }
    said: dict[str, Any] = {
        "callback": w.callback,
        "direction": direction,
        "monitor": w.monitor,
        "mode": None if w.settings.get("mode") in (None, "auto") else str(w.settings["mode"]),
        "better": better,
        "kept_epoch": kept[0].epoch,
        "kept": kept[1],
        "best_epoch": wanted[0].epoch,
        "best": wanted[1],
    }
    if w.kind == "plateau":
        title = LOWERED(**said, rates=rates)
    elif w.kind == "checkpoint":
        title = SAVED(**said)
    else:
        title = TOOK(**said, did=_did(facts, w, kept[0]), last=facts.epochs[-1].epoch)
    effect = None if w.kind == "plateau" else abs(kept[1] - wanted[1])
    return Finding(NAME, "failed", title, evidence, _advice(w, better), w.monitor, effect)


def _did(facts: Facts, w: Watcher, kept: Epoch) -> str:
    """What an EarlyStopping did: "stopped", the model "holds" its best, "both" or "none"."""
    r = facts.restoration
    stopped = w.stopped(facts.trace)
    if r is not None and r.callback == w.callback and r.monitor == w.monitor and r.restored_epoch == kept.epoch:
        return "both" if stopped else "holds"
    return "stopped" if stopped else "none"


def _values(facts: Facts, w: Watcher) -> list[tuple[Epoch, float]]:
    begins = int(w.settings.get("start_from_epoch") or 0) if w.kind == "early-stopping" else 0
    return [(e, v) for e, v in w.valued(facts.trace) if e.epoch > begins]


def _lowered(facts: Facts, w: Watcher) -> list[Event[LearningRate]]:
    return [e for e in facts.trace.events_of(LearningRate) if e.detail.callback == w.callback]


def _advice(w: Watcher, better: Mode) -> Said:
    return ADVICE(code=own_call(w, mode=better))
