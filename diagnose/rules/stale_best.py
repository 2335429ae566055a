"""Rule `stale-best`: an EarlyStopping that was used before begins a fit with the best of an earlier one (keras#20256,
#20521).

Keras 3.0 to 3.5 and 3.12 keep `best` between fits; 3.8 and 3.15.1 reset it in `on_train_begin`, which a subclass that
overrides that hook without `super()` undoes in every release.
"""

from __future__ import annotations

from typing import Any

from diagnose.decide.better import best as best_of
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.rules.common import not_applicable, number
from diagnose.rules.earlier_fit import continues
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call

NAME = "stale-best"

ADVICE = """\
Use a new EarlyStopping for each fit, and let a subclass run Keras's own reset:

```python
class Stopping(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.best = None  # Keras 3.0-3.5 and 3.12 keep it

model.fit(x, y, epochs=..., validation_data=(x_val, y_val),
          callbacks=[OWN_CALL])
```
"""


def check(facts: Facts) -> Finding:
    """Fails where the best an EarlyStopping began with is none of this fit, and no epoch improved on it."""
    watching = [w for w in watchers(facts.trace) if w.kind == "early-stopping"]
    if not watching:
        return not_applicable(NAME, "No EarlyStopping in this fit.")
    if watching[0].start is None:
        return not_applicable(NAME, "The trace does not say what EarlyStopping began this fit with.")
    stale = next((w for w in watching if w.best_at_start is not None and not _is_baseline(w)), None)
    if stale is None:
        used = next((w for w in watching if w.used_before), None)
        if used is None:
            return not_applicable(NAME, f"{watching[0].callback} was not used in an earlier fit.")
        title = f"{used.callback} was used in an earlier fit and began this one without a best."
        return Finding(NAME, "passed", title, {"callback": used.callback, "best_at_start": None}, "", used.monitor)
    values = stale.valued(facts.trace)
    if not stale.finished or not values or stale.compared_for is None:
        return not_applicable(NAME, f"What {stale.callback} kept in this fit is not known.")
    return _judged(facts, stale)


def _judged(facts: Facts, w: Watcher) -> Finding:
    found = best_of(w.valued(facts.trace), w.compared_for)
    assert found is not None and w.start is not None
    own, value = found
    began = f"{w.callback} began this fit with the best of an earlier one, {w.monitor} {number(w.best_at_start)}"
    r = facts.restoration
    r = r if r is not None and (r.callback, r.monitor) == (w.callback, w.monitor) else None
    evidence: dict[str, Any] = {
        "callback": w.callback,
        "monitor": w.monitor,
        "best_at_start": w.best_at_start,
        "wait_at_start": w.start.get("wait"),
        "weights_at_start": w.held_weights,
        "best_after": w.best,
        "epochs": len(facts.epochs),
        "own_best_epoch": own.epoch,
        "own_best_logged": value,
        "restored_epoch": None if r is None else r.restored_epoch,
        "held_value": None if r is None else r.restored_value,
        "continues_earlier_fit": continues(facts),
    }
    if w.best != w.best_at_start:
        title = f"{began}; epoch {own.epoch} ({number(value)}) improved on it."
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    if continues(facts) and (w.held_weights or not w.settings.get("restore_best_weights")):
        title = f"{began}, of the weights that this fit goes on from; it is theirs to improve on."
        return Finding(NAME, "passed", title, evidence, "", w.monitor, 0.0)
    epochs = f"none of its {len(facts.epochs)} epochs" if len(facts.epochs) > 1 else "its one epoch did not"
    improved = "improved on it" if len(facts.epochs) > 1 else "improve on it"
    title = f"{began}, and {epochs} {improved} (best {number(value)}, epoch {own.epoch}).{_end(facts, w, own.epoch)}"
    held = evidence["held_value"]
    effect = None if held is None else abs(held - value)
    return Finding(
        NAME, "failed", title, evidence, ADVICE.replace("OWN_CALL", own_call(w, name="Stopping")), w.monitor, effect
    )


def _end(facts: Facts, w: Watcher, own: int) -> str:
    """What became of it, as far as the trace shows."""
    r = facts.restoration
    found = []
    if w.stopped(facts.trace):
        found.append(f"stopped training after epoch {facts.epochs[-1].epoch}")
    if r is not None and (r.callback, r.monitor) == (w.callback, w.monitor):
        has = "" if r.restored_value is None else f" ({r.monitor} {number(r.restored_value)})"
        if r.verdict == "replaced" and r.written_by == w.callback:
            found.append(f"put back weights that no epoch of this fit made{has}")
        elif r.verdict != "not-restored" and r.restored_epoch not in (None, own):
            found.append(f"restored epoch {r.restored_epoch}{has}")
    return f" It {' and '.join(found)}." if found else ""


def _is_baseline(w: Watcher) -> bool:
    """Whether the best is no more than what the constructor was given."""
    return not w.used_before and w.best_at_start == w.settings.get("baseline")
