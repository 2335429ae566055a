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
from diagnose.rules.common import counted, not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Epoch

NAME = "missing-monitor"

_LEFT_OUT = {
    "early-stopping": "could neither stop training nor restore weights",
    "checkpoint": "could not tell which epoch was the best",
    "plateau": "could not lower the learning rate",
}


def check(facts: Facts) -> Finding:
    """Fails where a callback never saw the value it watches, or a checkpoint wrote its file without having it."""
    watching = watchers(facts.trace)
    if not watching:
        return not_applicable(NAME, "No callback of Keras watches a logged value.")
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    judged = [(w, _judged(facts, w)) for w in watching]
    for i, (w, finding) in enumerate(judged):
        if isinstance(finding, Finding):
            also = [other for other, found in judged[i + 1 :] if _same(found, finding)]
            return replace(finding, title=finding.title + "".join(_also(facts, w, other) for other in also))
    seen = [w for w, why in judged if why is None]
    if not seen:
        return not_applicable(NAME, str(judged[0][1]))
    names = ", ".join(f"{w.callback} '{w.monitor}'" for w in seen)
    title = f"What is watched was in the logs: {names}."
    missing = {w.monitor: _epochs_without(facts, w) for w in seen if _epochs_without(facts, w)}
    if missing:
        monitor, epochs = next(iter(missing.items()))
        title += f" {len(epochs)} of {len(facts.epochs)} epochs have no '{monitor}'; they are left out of its patience."
    return Finding(NAME, "passed", title, {"monitors": [w.monitor for w in seen], "epochs_without": missing}, "")


def _judged(facts: Facts, w: Watcher) -> Finding | str | None:
    """A failed finding, None where the callback saw its value, or why that is not known."""
    without = _epochs_without(facts, w)
    if len(without) == len(facts.epochs):
        if w.compared():
            return f"{w.callback} compares values of its own, not '{w.monitor}'."
        if not w.builtin and _acts_by_itself(facts, w):
            return f"{w.callback} does not go by '{w.monitor}' alone."
        return _absent(facts, w)
    if w.kind == "checkpoint":
        if w.settings.get("save_freq", "epoch") != "epoch":
            return f"{w.callback} looks at batches, not at the end of epochs."
        saved = sorted({e.epoch for e in w.saves(facts.trace) if e.epoch is not None})
        if saved and saved[-1] in without:
            return _saved_without(facts, w, saved, without)
    begins = int(w.settings.get("start_from_epoch") or 0)
    could_see = [e for e, v in w.valued(facts.trace) if math.isfinite(v) and e.epoch > begins]
    blind = [(e, v) for e in facts.epochs if (v := w.logged(e)) is not None and e.epoch > begins]
    if not could_see and blind:
        return _not_finite(facts, w, blind)
    if not could_see:
        return f"No epoch gave {w.callback} a number to look at."
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
    if validation:
        why = "fit made no validation pass"
    elif near is not None:
        why = f"the nearest name there is '{near}'"
    else:
        why = f"they hold {', '.join(names)}"
    title = (
        f"{w.callback} watches '{w.monitor}', which is in no log of this fit ({why}): in "
        f"{counted(len(facts.epochs), 'epoch')} it {_LEFT_OUT[w.kind]}{_files(facts, w)}."
    )
    return Finding(NAME, "failed", title, evidence, _advice(w, near, validation), w.monitor)


def _same(found: Finding | str | None, first: Finding) -> bool:
    """Whether another callback misses the same name in the whole fit."""
    names = ("monitor", "nearest", "validated")
    return (
        isinstance(found, Finding)
        and "nearest" in first.evidence
        and all(found.evidence.get(name) == first.evidence[name] for name in names)
    )


def _also(facts: Facts, w: Watcher, other: Watcher) -> str:
    name = other.callback if other.callback != w.callback else f"Another {other.callback}"
    return f" {name} watches it too: it {_LEFT_OUT[other.kind]}{_files(facts, other)}."


def _files(facts: Facts, w: Watcher) -> str:
    if w.kind != "checkpoint":
        return ""
    saves = w.saves(facts.trace)
    if saves:
        return (
            f", and wrote its file {len(saves)} times whatever the model was worth, last after epoch {saves[-1].epoch}"
        )
    return "" if w.start is None else ", and was not seen to write a file"


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
    was = "" if best is None else f", not of the best one with a value, epoch {best[0].epoch} ({number(best[1])})"
    title = (
        f"{w.callback} wrote its file after epoch {saved[-1]}, which has no '{w.monitor}' in its log: where the value "
        f"is missing it saves whatever the model is worth. The file holds the weights of epoch {saved[-1]}{was}."
    )
    advice = f"""\
Compute the value in every epoch, so that each save is compared:

```python
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), validation_freq=1,
          callbacks=[{own_call(w)}])
```
"""
    return Finding(NAME, "failed", title, evidence, advice, w.monitor)


def _too_late(facts: Facts, w: Watcher, epochs: Sequence[Epoch]) -> Finding:
    behind = [cb.name for cb in callbacks(facts.trace)[w.place + 1 :] if not cb.of_keras]
    evidence = _evidence(facts, w) | {"logged_in_epochs": [e.epoch for e in epochs], "callbacks_behind": behind}
    who = f" (one of {', '.join(behind)})" if len(behind) > 1 else f" ({behind[0]})" if behind else ""
    title = (
        f"{w.callback} never saw '{w.monitor}', though it is in the logs of "
        f"{counted(len(epochs), 'epoch')}: it was put there after {w.callback} had looked, by a callback that stands "
        f"behind it{who}."
    )
    advice = f"""\
Callbacks run in the order of the list. Put the one that adds '{w.monitor}' to the logs first:

```python
adds_the_value = ...  # the callback that sets logs["{w.monitor}"]
callbacks = [adds_the_value, {own_call(w)}]
```
"""
    return Finding(NAME, "failed", title, evidence, advice, w.monitor)


def _not_finite(facts: Facts, w: Watcher, seen: Sequence[tuple[Epoch, float]]) -> Finding:
    """The value was there and is none that can be compared."""
    spelled = " or ".join(sorted({number(v) for _, v in seen}))
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
    did = {
        "early-stopping": f"{w.callback} could not tell one epoch from another",
        "checkpoint": f"{w.callback} could not tell which epoch was the best{_files(facts, w)}",
        "plateau": f"{w.callback} could see no improvement",
    }[w.kind]
    if kept is not None:
        did += f"; it kept the first that it saw, and the model holds the end of epoch {kept}"
    if w.kind == "early-stopping" and stopped_by(facts.trace) == w.callback:
        did += f". It stopped training after epoch {facts.epochs[-1].epoch}"
    began = "" if first is None else f" First, {first.text}"
    began += "; no batch of training was." if batch is None else f"; in training, {batch.text}."
    title = (
        f"'{w.monitor}' was logged as {spelled} in {counted(len(seen), 'epoch')}, and none of these is better than "
        f"another: {did}.{began}"
    )
    validation = w.monitor.startswith("val_") and batch is None
    return Finding(NAME, "failed", title, evidence, _where_from(validation), w.monitor)


def _where_from(validation: bool) -> str:
    if validation:
        return """\
Training had numbers, so look for rows of the validation data that have none:

```python
for name, array in (("x_val", x_val), ("y_val", y_val)):
    finite = np.isfinite(np.asarray(array, "float64")).reshape(len(array), -1).all(axis=1)
    print(name, "rows without a number:", np.flatnonzero(~finite))
```
"""
    return """\
Stop where it begins, and look at the rows of that batch, the learning rate, and divisions and logarithms in the loss:

```python
model.fit(x, y, epochs=..., callbacks=[keras.callbacks.TerminateOnNaN()])
```
"""


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
    kinds = ("stop-requested", "weights-changed", "learning-rate")
    acted = any(e.kind in kinds and e.detail.get("callback") == w.callback for e in facts.trace.events)
    return acted or (bool(read) and w.monitor not in read)


def _epochs_without(facts: Facts, w: Watcher) -> list[int]:
    return [e.epoch for e in facts.epochs if e.logs.get(w.monitor) is None]


def _names(epochs: Sequence[Epoch]) -> list[str]:
    return list(dict.fromkeys(name for e in epochs for name in e.logs))


def _evidence(facts: Facts, w: Watcher) -> dict[str, Any]:
    return {"callback": w.callback, "monitor": w.monitor, "epochs": len(facts.epochs)}


def _advice(w: Watcher, near: str | None, validation: bool) -> str:
    monitor = w.monitor if validation or near is None else near
    first = "Give `fit` validation data" if validation else "Watch a name that is in the logs"
    return f"""\
{first} (`print(model.fit(...).history.keys())` shows them all):

```python
model.fit(x, y, epochs=..., validation_data=(x_val, y_val),
          callbacks=[{own_call(w, monitor=monitor)}])
```
"""
