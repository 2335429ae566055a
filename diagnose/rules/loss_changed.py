"""Rule `loss-changed`: the loss is another function later in the fit than at its beginning, by something outside the
model's variables (keras#13826, #2595): losses of different epochs cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from diagnose.decide.outside import Changed, changed_outside
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules.common import NO_EPOCH, NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_for_another, call_with
from diagnose.rules.random_evaluate import alike

NAME = "loss-changed"

NOT_REPLAYED = Text("loss-changed.not-replayed", "No step was computed again.")
SAME = Text("loss-changed.same", "Computed again, every step gives the loss that was logged: it did not change.")
NOT_TOLD = Text(
    "loss-changed.not-told",
    "In {steps:plural(# step|# steps)} replay does not give the recorded loss, but that it changed is not proven: "
    "{why:select(random=it may as well draw at random|metrics=the metrics do not come out either|no metric beside it "
    "tells whether the step is the same)}.",
)
CONSTANT = Text(
    "loss-changed.constant",
    "`{name}` of {holder} changed during the fit, but a compiled step on {backend} goes by the value it had when it "
    "was compiled: where it uses it, all epochs are of one scale, and not of that of now.",
)
FAILED = Text(
    "loss-changed.failed",
    "{what:select(loss=The loss|model=What the model computes)} changed during the fit: with the same weights and the "
    "same rows, {proof:select(metrics=the metrics of {steps} of {of:plural(# step|# steps)} come out as recorded, but "
    "the loss does not|numbers={steps} of {of:plural(# step|# steps)} do not come out as recorded)}.",
)
OTHER_NOW = Text(
    "loss-changed.other-now",
    "The loss reads something that is another now than in the fit: with the same weights and the same rows, the "
    "metrics of {steps} of {of:plural(# step|# steps)} come out as recorded, but the loss does not, though it draws "
    "nothing at random.",
)
HELD = Text(
    "loss-changed.held",
    "`{name}` of {holder} was {first:number} when epoch {first_epoch} began and {last:number} when epoch {last_epoch} "
    "began.",
)
UNKNOWN = Text("loss-changed.unknown", "What changed it was not found in the loss, its layers or the callbacks.")
COMPARES = Text(
    "loss-changed.compares",
    "{callback} compares '{monitor}' of epochs that were scored by different losses.",
)
ADVICE = Text(
    "loss-changed.advice",
    """\
Losses of different epochs are not of one scale. Go by a metric that does not change:

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where steps come out as recorded but for a loss that draws nothing, or where a number that the loss or a
    layer uses changed and only steps with its last value come out as recorded."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    replayed = facts.measured.replayed
    if not replayed:
        reason = facts.measured.no_replay
        return not_applicable(NAME, NOT_REPLAYED() if reason is None else NOT_MEASURED(reason=reason))
    steps = sum(c.steps for c in replayed.values())
    wrong = steps - sum(c.reproduced for c in replayed.values())
    if not wrong:
        return Finding(NAME, "passed", SAME(), {"steps": steps}, "", "loss", 0.0)
    changed = [x for x in changed_outside(facts.trace) if not x.of.startswith("a metric")]
    alone = sum(facts.measured.other_loss.values())
    by_numbers = [x for x in changed if _tells(facts, x)]
    # A loss that draws at random never comes out again; one that changed does where it is as it is now.
    by_metrics = alone >= wrong and (bool(changed) or _last_comes_out(facts))
    other_now = alone >= wrong and _draws_nothing(facts)
    if changed and _constant(facts, changed):
        backend = _BACKENDS[facts.trace.header.backend]
        title = CONSTANT(name=changed[0].name, holder=changed[0].of, backend=backend)
        return not_applicable(NAME, title, {"steps": steps})
    if not by_metrics and not by_numbers and not other_now:
        why = "random" if alone >= wrong else "metrics" if _metrics(facts) else "none"
        return not_applicable(NAME, NOT_TOLD(steps=wrong, why=why), {"steps": steps})
    watching = next((d for d in facts.decisions if d.monitor in ("loss", "val_loss")), None)
    r = facts.restoration
    evidence: dict[str, Any] = {
        "steps": steps,
        "steps_with_another_loss": wrong,
        "changed": [
            {"holder": x.of, "name": x.name, "values": [{"epoch": e, "value": v} for e, v in x.values[:40]]}
            for x in changed
        ],
    }
    if r is not None and watching is not None and r.monitor == watching.monitor:
        evidence |= {"callback": r.callback, "monitor": r.monitor}
    what = "model" if not by_metrics and any(x.of.startswith("layer ") for x in by_numbers) else "loss"
    first = FAILED(what=what, proof="metrics" if by_metrics else "numbers", steps=wrong, of=steps)
    if not by_metrics and not by_numbers:
        first = OTHER_NOW(steps=wrong, of=steps)
    told = [_held(x) for x in by_numbers or changed] or [UNKNOWN()]
    compares = [] if watching is None else [COMPARES(callback=watching.callback, monitor=watching.monitor)]
    effect = max((abs(x.residual) for x in facts.ledgers if x.metric == "loss"), default=None)
    title = sentences(first, *told[:3], *compares)
    return Finding(NAME, "failed", title, evidence, _advice(facts, watching), "loss", effect)


_BACKENDS: Final = {"jax": "JAX", "tensorflow": "TensorFlow"}


def _constant(facts: Facts, changed: Sequence[Changed]) -> bool:
    """Whether compiled steps cannot see the change."""
    header = facts.trace.header
    if header.compile.run_eagerly or header.backend not in _BACKENDS:
        return False
    return header.backend == "jax" or all(x.plain for x in changed)


def _draws_nothing(facts: Facts) -> bool:
    twice = facts.measured.evaluated_twice.get("loss", {})
    return bool(twice) and alike(twice["first"], twice["second"])


def _tells(facts: Facts, changed: Changed) -> bool:
    """Whether the steps of all epochs with the number's last value come out as recorded, and those of no other do."""
    values, last = dict(changed.values), changed.values[-1][1]
    seen = {e: c for e, c in facts.measured.replayed.items() if e in values and c.steps}
    same = [c.reproduced == c.steps for e, c in seen.items() if values[e] == last]
    other = [c.reproduced < c.steps for e, c in seen.items() if values[e] != last]
    return bool(same) and bool(other) and all(same) and all(other)


def _last_comes_out(facts: Facts) -> bool:
    last = facts.measured.replayed.get(facts.epochs[-1].epoch)
    return last is not None and last.steps == last.reproduced > 0


def _held(changed: Changed) -> Said:
    (first_epoch, first), (last_epoch, last) = changed.values[0], changed.values[-1]
    if first == last:  # there and back
        last_epoch, last = next((e, v) for e, v in changed.values if v != first)
    return HELD(
        name=changed.name, holder=changed.of, first=first, first_epoch=first_epoch, last=last, last_epoch=last_epoch
    )


def _metrics(facts: Facts) -> list[str]:
    variables = facts.trace.header.metric_variables
    return list(dict.fromkeys(v.log for v in variables if v.log is not None and not v.of_loss))


def _advice(facts: Facts, watching: Watcher | None) -> Said:
    names = _metrics(facts)
    prefix = "val_" if facts.validated else ""
    monitor = f"{prefix}{names[0]}" if names else f"{prefix}mse"
    if watching is not None and watching.kind in ("early-stopping", "checkpoint"):
        call = call_for_another(facts, watching, monitor)
    else:
        call = call_with("early-stopping", monitor=monitor)
    fixed = "" if names else 'model.compile(optimizer, loss, metrics=["mse"])\n'
    return ADVICE(code=f"{fixed}model.fit(x, y, epochs=..., callbacks=[{call}])")
