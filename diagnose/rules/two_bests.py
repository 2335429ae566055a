"""Rule `two-bests`: EarlyStopping restored the best epoch of one metric, ModelCheckpoint saved that of another
(ml4h#364)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.kept import Kept, kept_by
from diagnose.decide.watched import Watcher, restoring
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Epoch

NAME = "two-bests"


def check(facts: Facts) -> Finding:
    """Fails where the file and the model after fit are of different epochs, because their metrics are different."""
    r, stopping = facts.restoration, restoring(facts.decisions)
    files = [d for d in facts.decisions if d.kind == "checkpoint"]
    if stopping is None or stopping.kind != "early-stopping" or r is None or not files:
        return not_applicable(NAME, "There are not both an EarlyStopping and a ModelCheckpoint that keeps the best.")
    other = [d for d in files if d.monitor != stopping.monitor]
    if not other:
        title = f"{stopping.callback} and {files[0].callback} go by the same value, '{stopping.monitor}'."
        return Finding(NAME, "passed", title, {"monitor": stopping.monitor}, "")
    if not stopping.settings.get("restore_best_weights") or r.verdict == "not-restored":
        return not_applicable(NAME, f"{stopping.callback} restored nothing, so only the file is a best epoch's.")
    restored = next((e for e in facts.epochs if e.epoch == r.restored_epoch), None)
    if restored is None:
        return not_applicable(NAME, "The weights after fit are no version of training, so they are of no epoch.")
    found = [(d, kept) for d in other if (kept := _saved(facts, d)) is not None]
    if not found:
        return not_applicable(NAME, f"{other[0].callback} saved no epoch of this fit by '{other[0].monitor}'.")
    apart = [(d, kept) for d, kept in found if _weights(facts, kept.epoch) != _weights(facts, restored)]
    saving, kept = (apart or found)[0]
    saved = kept.epoch
    evidence = _evidence(facts, stopping, restored, saving, kept)
    if not apart:
        title = f"The best {stopping.monitor} and the best {saving.monitor} are of the same epoch {saved.epoch}."
        return Finding(NAME, "passed", title, evidence, "")
    title = (
        f"Two models are called best: {stopping.callback} left epoch {restored.epoch} in memory (best "
        f"{stopping.monitor}), {saving.callback} put epoch {saved.epoch} into its file (best {saving.monitor}). "
        f"{_values(stopping.monitor, restored, saved)}; {_values(saving.monitor, restored, saved)}."
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


def _values(monitor: str, restored: Epoch, saved: Epoch) -> str:
    return (
        f"{monitor} was {number(restored.logs.get(monitor))} in epoch {restored.epoch} and "
        f"{number(saved.logs.get(monitor))} in epoch {saved.epoch}"
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


def _advice(stopping: Watcher, saving: Watcher) -> str:
    how = {"mode": stopping.direction} if stopping.direction is not None else {}
    return f"""\
Let both go by the value you will report, or use one of the two models and name it:

```python
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[
    {own_call(stopping)},
    {own_call(saving, monitor=stopping.monitor, **how)},
])
```
"""
