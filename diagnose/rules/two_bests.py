"""Rule `two-bests`: EarlyStopping restored the best epoch of one metric, ModelCheckpoint saved that of another
(ml4h#364)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.kept import Kept, kept_by
from diagnose.decide.watched import Watcher, restoring
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NO_VERSION, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Epoch

NAME = "two-bests"

NOT_BOTH = Text("two-bests.not-both", "There are not both an EarlyStopping and a ModelCheckpoint that keeps the best.")
SAME_VALUE = Text("two-bests.same-value", "{stopping} and {saving} go by the same value, '{monitor}'.")
RESTORED_NOTHING = Text(
    "two-bests.restored-nothing", "{callback} restored nothing, so only the file is a best epoch's."
)
SAVED_NONE = Text("two-bests.saved-none", "{callback} saved no epoch of this fit by '{monitor}'.")
SAME_EPOCH = Text(
    "two-bests.same-epoch", "The best {restored_monitor} and the best {saved_monitor} are of the same epoch {epoch}."
)
FAILED = Text(
    "two-bests.failed",
    "Two models are called best: {stopping} left epoch {restored} in memory (best {restored_monitor}), {saving} put "
    "epoch {saved} into its file (best {saved_monitor}). {first}; {second}.",
)
VALUES = Text(
    "two-bests.values",
    "{monitor} was {restored_value:number} in epoch {restored} and {saved_value:number} in epoch {saved}",
)
ADVICE = Text(
    "two-bests.advice",
    "Let both go by the value you will report, or use one of the two models and name it:\n\n{code:python}\n",
)


def check(facts: Facts) -> Finding:
    """Fails where the file and the model after fit are of different epochs, because their metrics are different."""
    r, stopping = facts.restoration, restoring(facts.decisions)
    files = [d for d in facts.decisions if d.kind == "checkpoint"]
    if stopping is None or stopping.kind != "early-stopping" or r is None or not files:
        return not_applicable(NAME, NOT_BOTH())
    other = [d for d in files if d.monitor != stopping.monitor]
    if not other:
        title = SAME_VALUE(stopping=stopping.callback, saving=files[0].callback, monitor=stopping.monitor)
        return Finding(NAME, "passed", title, {"monitor": stopping.monitor}, "")
    if not stopping.settings.get("restore_best_weights") or r.verdict == "not-restored":
        return not_applicable(NAME, RESTORED_NOTHING(callback=stopping.callback))
    restored = next((e for e in facts.epochs if e.epoch == r.restored_epoch), None)
    if restored is None:
        return not_applicable(NAME, NO_VERSION())
    found = [(d, kept) for d in other if (kept := _saved(facts, d)) is not None]
    if not found:
        return not_applicable(NAME, SAVED_NONE(callback=other[0].callback, monitor=other[0].monitor))
    apart = [(d, kept) for d, kept in found if _weights(facts, kept.epoch) != _weights(facts, restored)]
    saving, kept = (apart or found)[0]
    saved = kept.epoch
    evidence = _evidence(facts, stopping, restored, saving, kept)
    if not apart:
        title = SAME_EPOCH(restored_monitor=stopping.monitor, saved_monitor=saving.monitor, epoch=saved.epoch)
        return Finding(NAME, "passed", title, evidence, "")
    title = FAILED(
        stopping=stopping.callback,
        restored=restored.epoch,
        restored_monitor=stopping.monitor,
        saving=saving.callback,
        saved=saved.epoch,
        saved_monitor=saving.monitor,
        first=_values(stopping.monitor, restored, saved),
        second=_values(saving.monitor, restored, saved),
    )
    monitor = stopping.monitor
    values = [float(v) for e in (restored, saved) if isinstance(v := e.logs.get(monitor), (int, float))]
    effect = abs(values[0] - values[1]) if len(values) == 2 else None
    return Finding(NAME, "failed", title, evidence, _advice(stopping, saving), monitor, effect)


def _saved(facts: Facts, decision: Watcher) -> Kept | None:
    """What is in the file, where it was written at the end of an epoch."""
    kept = kept_by(facts.trace, decision)
    return kept if kept is not None and kept.version == kept.epoch.last_version else None


def _weights(facts: Facts, epoch: Epoch) -> Any:
    return facts.trace.states[epoch.state].weights


def _values(monitor: str, restored: Epoch, saved: Epoch) -> Said:
    return VALUES(
        monitor=monitor,
        restored=restored.epoch,
        restored_value=restored.logs.get(monitor),
        saved=saved.epoch,
        saved_value=saved.logs.get(monitor),
    )


def _evidence(facts: Facts, stopping: Watcher, restored: Epoch, saving: Watcher, kept: Kept) -> dict[str, Any]:
    def model(decision: Watcher, epoch: Epoch) -> dict[str, Any]:
        return {
            "callback": decision.callback,
            "monitor": decision.monitor,
            "epoch": epoch.epoch,
            "version": epoch.last_version,
            "logged": {d.monitor: epoch.logs.get(d.monitor) for d in (stopping, saving)},
            "reevaluated": dict(facts.reevaluated.get(epoch.epoch, {})),
        }

    last = facts.epochs[-1]
    at_last = {d.monitor: last.logs.get(d.monitor) for d in (stopping, saving)}
    return {
        "restored": model(stopping, restored),
        "saved": {
            **model(saving, kept.epoch),
            "path": saving.settings.get("filepath"),
            "known_by": kept.known_by,
        },
        "last_epoch": {"epoch": last.epoch, "logged": at_last},
    }


def _advice(stopping: Watcher, saving: Watcher) -> Said:
    how = {"mode": stopping.direction} if stopping.direction is not None else {}
    code = f"""\
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[
    {own_call(stopping)},
    {own_call(saving, monitor=stopping.monitor, **how)},
])"""
    return ADVICE(code=code)
