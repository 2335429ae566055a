"""Rule `wrong-direction`: a callback looks for the lowest of a metric that is better the higher it is, or the other way
round (keras#15138, #18798).

Until 3.8, Keras's `ModelCheckpoint` and `ReduceLROnPlateau` take the direction from the name (`"acc" in monitor`), so
that `val_auc` is minimised; later ones ask the metric where `mode="auto"`, and only a `mode` that is given is wrong.
"""

from __future__ import annotations

from typing import Any, Final

from diagnose.decide.better import Mode, best, defined
from diagnose.decide.clock import metric_of
from diagnose.decide.kept import kept_epoch
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Epoch

NAME = "wrong-direction"

_WORDS: Final = {"min": ("lowest", "lower"), "max": ("highest", "higher")}


def check(facts: Facts) -> Finding:
    """Fails where a callback's comparison runs against the direction of the metric it watches, and it compared
    different values."""
    watching = watchers(facts.trace)
    if not watching:
        return not_applicable(NAME, "No callback of Keras watches a logged value.")
    known = [(w, defined(facts.trace, metric_of(facts.trace, w.monitor))) for w in watching]
    if all(better is None for _, better in known):
        names = ", ".join(f"'{w.monitor}'" for w in watching)
        return not_applicable(NAME, f"Which way is better is not known for {names}: no metric that Keras defines.")
    judged = [(w, better, _values(facts, w)) for w, better in known if better is not None and w.compared_for]
    judged = [(w, better, values) for w, better, values in judged if len({v for _, v in values}) > 1]
    if not judged:
        return not_applicable(NAME, "No callback compared two different values in this fit.")
    wrong = [x for x in judged if x[0].compared_for != x[1]]
    if wrong:
        return _failed(facts, wrong[0][0], wrong[0][1], wrong[0][2], [w.callback for w, _, _ in wrong])
    names = ", ".join(f"{w.callback} the {_WORDS[better][0]} '{w.monitor}'" for w, better, _ in judged)
    monitors = [w.monitor for w, _, _ in judged]
    return Finding(NAME, "passed", f"Each looks for the better values: {names}.", {"monitors": monitors}, "")


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
    mode = "" if w.settings.get("mode") in (None, "auto") else f" (mode='{w.settings['mode']}')"
    title = (
        f"{w.callback} looks for the {_WORDS[direction][0]} {w.monitor}{mode}, which is better the {_WORDS[better][1]} "
        f"it is. {_consequence(facts, w, kept, wanted, rates)}"
    )
    effect = None if w.kind == "plateau" else abs(kept[1] - wanted[1])
    return Finding(NAME, "failed", title, evidence, _advice(w, better), w.monitor, effect)


def _consequence(
    facts: Facts, w: Watcher, kept: tuple[Epoch, float], best: tuple[Epoch, float], rates: list[int | None]
) -> str:
    first = f"epoch {kept[0].epoch} ({number(kept[1])})"
    second = f"best was epoch {best[0].epoch} ({number(best[1])})"
    if w.kind == "plateau":
        if not rates:
            return f"It counts from {first}; the {second}."
        epochs = ", ".join(map(str, rates))
        return f"It lowered the learning rate after epoch {epochs}, counting from {first}; the {second}."
    if w.kind == "checkpoint":
        return f"Its file holds {first}; the {second}."
    r = facts.restoration
    stopped = w.stopped(facts.trace)
    end = f" and stopped training after epoch {facts.epochs[-1].epoch}" if stopped else ""
    if r is not None and r.callback == w.callback and r.monitor == w.monitor and r.restored_epoch == kept[0].epoch:
        end = f", whose weights the model now holds{',' if stopped else ''}{end}"
    return f"It took {first} for the best{end}; the {second}."


def _values(facts: Facts, w: Watcher) -> list[tuple[Epoch, float]]:
    begins = int(w.settings.get("start_from_epoch") or 0) if w.kind == "early-stopping" else 0
    return [(e, v) for e, v in w.valued(facts.trace) if e.epoch > begins]


def _lowered(facts: Facts, w: Watcher) -> list[Any]:
    return [e for e in facts.trace.events if e.kind == "learning-rate" and e.detail.get("callback") == w.callback]


def _advice(w: Watcher, better: Mode) -> str:
    return f"""\
Say which way is better, whatever the release takes "auto" for:

```python
{own_call(w, mode=better)}
```
"""
