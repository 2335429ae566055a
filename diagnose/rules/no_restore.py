"""Rule `no-restore`: EarlyStopping watched a best epoch, but the model after fit is simply the last one (keras#12511,
tf#35634)."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any

from diagnose.decide.kept import kept_epoch
from diagnose.decide.watched import Watcher, restoring, watchers
from diagnose.result.diagnosis import Finding, Restoration
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NAN_ONLY, NO_EPOCH, NO_STOPPING, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_with, own_call
from diagnose.rules.size import alike

NAME = "no-restore"

NO_BEST = Text("no-restore.no-best", "{callback} never saw '{monitor}', so there was no best epoch to restore.")
REPLACED = Text("no-restore.replaced", "The weights after fit are not the last ones of training: {who} wrote others.")
ADVICE = Text("no-restore.advice", "{code:python}\n")
OWN_ADVICE = Text("no-restore.own-advice", "Have {callback} put back what it keeps:\n\n{code:python}\n")
RESTORED = Text("no-restore.restored", "{callback} restored: the model holds epoch {epoch}.")
SINCE = Text(
    "no-restore.since",
    "Fit left the model with its last weights; the script put those of its best epoch {epoch} back after it.",
)
ELSEWHERE = Text(
    "no-restore.elsewhere",
    "Fit left the model with its last weights; those of its best epoch {epoch} are in another model, which the script "
    "uses ({file}:{line}).",
)
BEST_IS_LAST = Text("no-restore.best-is-last", "Nothing had to be restored: the best epoch is the last.")
IN_A_FILE = Text(
    "no-restore.in-a-file",
    "The model after fit holds the last weights (epoch {epoch}); those of its best epoch {best_epoch} "
    "({monitor} {best:number}) are in {callback}'s file{file:given( '{file}'|)}.",
)
UNUSED = Text(
    "no-restore.unused",
    "The model after fit holds the last weights (epoch {epoch}), and {script}:{line} goes by these; those of its best "
    "epoch {best_epoch} ({monitor} {best:number}) are in {callback}'s file{file:given( '{file}'|)}, of which no "
    "evaluate and no predict that was recorded makes use.",
)
FAILED = Text(
    "no-restore.failed",
    "The model after fit holds the last weights (epoch {epoch}, {monitor} {logged:number}), not those of its best "
    "epoch {best_epoch} ({best:number}).",
)


def _advice(facts: Facts) -> Said:
    """The user's own EarlyStopping, which restores."""
    own = restoring(facts.decisions)
    stopping = own is not None and own.kind == "early-stopping"
    call = own_call(own, restore_best_weights=True) if own is not None and stopping else call_with("early-stopping")
    return ADVICE(code=call)


def _saved(facts: Facts, r: Restoration) -> Watcher | None:
    """The ModelCheckpoint whose file holds the weights of the best epoch; None where there is none."""
    for w in watchers(facts.trace):
        if w.kind == "checkpoint" and w.monitor == r.monitor and kept_epoch(facts.trace, w) == r.best_epoch:
            return w
    return None


def _load(saving: Watcher, name: str | None) -> str:
    """What puts the weights of a checkpoint's file into use."""
    path = name or "best.keras"
    if saving.settings.get("save_weights_only"):
        return f"model.load_weights({path!r})"
    return f"model = keras.models.load_model({path!r})"


def _of_own(facts: Facts, r: Restoration, watcher: Watcher) -> Finding:
    """Of a callback of the user's own: the verdict's sentence says what it did."""
    own = watcher.own
    assert own is not None
    evidence = {
        "callback": r.callback,
        "monitor": r.monitor,
        "best_epoch": r.best_epoch,
        "held_version": r.restored_version,
        "last_epoch": facts.epochs[-1].epoch,
        "known_by": "content",
    }
    if own.back:
        return Finding(NAME, "passed", r.sentence, evidence, "", r.monitor)
    arrays = own.arrays or f"self.{own.attribute}"
    used = _used(facts, r, evidence, own.version)
    if used is not None:
        return used
    code = f"""\
def on_train_end(self, logs=None):
    self.model.set_weights({arrays})"""
    if own.alone:
        code = f"""\
def on_train_end(self, logs=None):
    for variable, value in zip(self.model.trainable_variables, {arrays}):
        variable.assign(value)"""
    logged = facts.epochs[-1].logs.get(r.monitor)
    known = isinstance(logged, (int, float)) and r.best_logged is not None
    effect = abs(float(logged or 0) - (r.best_logged or 0)) if known else None
    return Finding(NAME, "failed", r.sentence, evidence, OWN_ADVICE(callback=r.callback, code=code), r.monitor, effect)


def _used(facts: Facts, r: Restoration, evidence: dict[str, Any], version: int | None) -> Finding | None:
    """The script's own way back to the weights of the best epoch, after the fit: into the model, or in another one."""
    wanted = {version, *(e.last_version for e in facts.epochs if e.epoch == r.best_epoch)} - {None}
    since = facts.measured.since_fit
    if since in wanted:
        title = SINCE(epoch=r.best_epoch)
        return Finding(NAME, "passed", title, evidence | {"put_back_since": since}, "", r.monitor)
    call = next((c for c in facts.calls if c.epoch is None and not c.same_model and c.version in wanted), None)
    if call is None:
        return None
    return Finding(
        NAME, "passed", ELSEWHERE(epoch=r.best_epoch, file=call.file, line=call.line), evidence, "", r.monitor
    )


def check(facts: Facts) -> Finding:
    """Fails where the weights after fit are the last ones, the best epoch is another, and the script does not use its
    weights: wrong where no file has them, notable where a checkpoint's has, but the script goes by the last ones."""
    r = facts.restoration
    if r is None:
        return not_applicable(NAME, NO_STOPPING() if facts.epochs else NO_EPOCH())
    if r.verdict == "replaced":
        return not_applicable(NAME, REPLACED(who=r.written_by))
    if r.best_epoch is None:
        return not_applicable(NAME, NO_BEST(callback=r.callback, monitor=r.monitor))
    own = restoring(facts.decisions)
    if own is not None and own.own is not None:
        return _of_own(facts, r, own)
    if own is not None and own.finished and own.settings.get("restore_best_weights") and not own.compared():
        # The value came into the logs behind it, or is one that nothing is better than: other rules say so.
        return not_applicable(NAME, NO_BEST(callback=r.callback, monitor=r.monitor))
    if r.best_logged is not None and math.isnan(r.best_logged):
        return not_applicable(NAME, NAN_ONLY(callback=r.callback, monitor=r.monitor))
    last = facts.epochs[-1]
    evidence = {
        "callback": r.callback,
        "monitor": r.monitor,
        "best_epoch": r.best_epoch,
        "best_logged": r.best_logged,
        "held_version": r.restored_version,
        "last_epoch": last.epoch,
        "held_value": r.restored_value,
    }
    if r.verdict != "not-restored":
        title = RESTORED(callback=r.callback, epoch=r.restored_epoch)
        return Finding(NAME, "passed", title, evidence, "", r.monitor)
    if r.best_epoch == last.epoch:
        return Finding(NAME, "passed", BEST_IS_LAST(), evidence, "", r.monitor, 0.0)
    logged = last.logs.get(r.monitor)
    same = alike(facts, r.monitor, logged if isinstance(logged, (int, float)) else None, r.best_logged)
    if same is not None:
        return Finding(NAME, "passed", same, evidence, "", r.monitor, 0.0)
    used = _used(facts, r, evidence, None)
    if used is not None:
        return used
    effect = (
        abs(float(logged) - r.best_logged) if isinstance(logged, (int, float)) and r.best_logged is not None else None
    )
    saving = _saved(facts, r)
    if saving is not None:
        path = saving.settings.get("filepath")
        file = evidence["file"] = None if path is None else PurePath(str(path)).name
        said = {
            "epoch": last.epoch,
            "best_epoch": r.best_epoch,
            "monitor": r.monitor,
            "best": r.best_logged,
            "callback": saving.callback,
            "file": file,
        }
        call = next((c for c in facts.calls if c.epoch is None and c.after_fit), None)
        if call is None:
            return Finding(NAME, "passed", IN_A_FILE(**said), evidence, "", r.monitor)
        title = UNUSED(**said, script=call.file, line=call.line)
        evidence |= {"script": call.file, "line": call.line}
        code = _load(saving, file)
        return Finding(NAME, "failed", title, evidence, ADVICE(code=code), r.monitor, effect, severity="notable")
    title = FAILED(epoch=last.epoch, monitor=r.monitor, logged=logged, best_epoch=r.best_epoch, best=r.best_logged)
    return Finding(NAME, "failed", title, evidence, _advice(facts), r.monitor, effect)
