"""Rule `moving-average-of-weights`: with many batches, an epoch's value averages batches scored under different weights
(keras#503, #605, #6977); no version owns it."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import (
    NO_EPOCH,
    NOT_MEASURED,
    NOT_REPLAYED,
    consequence,
    metric_in_question,
    not_applicable,
    rests_on_training,
    timing,
)
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import deciding_call
from diagnose.rules.size import material, resolution, scale

NAME = "moving-average-of-weights"

ONE_STEP = Text(
    "moving-average-of-weights.one-step", "Every epoch has one step: its value belongs to one set of weights."
)
SAME_WEIGHTS = Text(
    "moving-average-of-weights.same-weights",
    "All batches of an epoch were scored with the same weights: its value belongs to them.",
)
NOT_DECIDED = Text(
    "moving-average-of-weights.not-decided",
    "Logged training values average over moving weights, but nothing here was decided by one.",
)
NOT_KNOWN = Text("moving-average-of-weights.not-known", "Where {metric} was computed is not known.")
OTHER_LOSS = Text(
    "moving-average-of-weights.other-loss",
    "The loss of epoch {epoch} does not come out as recorded with the weights and rows it was computed with, where the "
    "metrics do: another loss made it.",
)
NO_GAP = Text(
    "moving-average-of-weights.no-gap",
    "The weights moved within the epochs; no more than {moved:number} of the gap in {metric} comes from it.",
)
NOT_COMPARED = Text(
    "moving-average-of-weights.not-compared",
    "Of the difference between the {metric} logged for epoch {epoch} and what evaluate gives, {moved:signed} is from "
    "weights that moved within the epoch. Nothing was decided by that value, and the script compares it with no "
    "evaluate of its own.",
)
FAILED = Text(
    "moving-average-of-weights.failed",
    "The {metric} logged for epoch {epoch} ({logged:number}) averages {batches} batches, "
    "{different:select(each=each scored with other weights|some=scored with {weights} different sets of weights|"
    "scored while the weights moved)}; no version of the model has it. At the end of that epoch it is {end:number} on "
    "the same batches.{decides:given( {decides}|)}",
)
ADVICE = Text(
    "moving-average-of-weights.advice",
    """\
Decide by a value of one set of weights: give fit validation data (the training data itself will do), and
monitor `val_…`:

{code:python}

To compare with the training data at the end, use `model.evaluate(x, y)`, not the last line of the log.
""",
)
COMPARE = Text(
    "moving-average-of-weights.compare",
    "The model's value on the training rows is what `evaluate` returns, not what the log says last:\n\n{code:python}\n",
)
CODE = "model.evaluate(x, y, return_dict=True)"


def check(facts: Facts) -> Finding:
    """Fails where the ledger puts part of the gap down to weights that moved within the epoch, and the value is gone
    by, or the script has scored the same rows itself."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if all(n <= 1 for n in facts.steps_per_epoch):
        return not_applicable(NAME, ONE_STEP())
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    decisions = rests_on_training(facts)
    if decisions is None:
        return Finding(NAME, "passed", NOT_DECIDED(), {"decided_by": [d.monitor for d in facts.decisions]}, "")
    metric = metric_in_question(facts, decisions)
    names = [metric] if decisions else list(dict.fromkeys(x.metric for x in facts.ledgers))
    many = {(m, e.epoch) for m in names for e in facts.epochs if facts.averaged(m, e.epoch) != 1}
    if facts.ledgers and not many:
        evidence = {"metric": metric, "different_weights": 1}
        return Finding(NAME, "passed", SAME_WEIGHTS(), evidence, "", metric, 0.0)
    ledgers = [x for x in facts.ledgers if (x.metric, x.epoch) in many]
    if not ledgers:
        return not_applicable(NAME, NOT_REPLAYED(metric=metric), {"metric": metric})
    # Of what nothing was decided by, only a gap is told that the script shows: the largest that this explains.
    shown = _shown(facts)
    told = [
        (
            bool(decisions) or (material(facts, x, timing(x)) and (x.metric, x.epoch) in shown),
            abs(timing(x)) / (scale(x) or 1.0),
            x,
        )
        for x in ledgers
    ]
    matters, _, ledger = max(told, key=lambda each: each[:2])
    metric, moved = ledger.metric, timing(ledger)
    if metric == "loss" and facts.measured.other_loss.get(ledger.epoch):
        return not_applicable(NAME, OTHER_LOSS(epoch=ledger.epoch), {"metric": metric})
    when = facts.clock(metric, ledger.epoch)
    at = when.span
    if at is None:
        return not_applicable(NAME, NOT_KNOWN(metric=metric), {"metric": metric})
    end = facts.measured.end_of_epoch.get(ledger.epoch, {}).get(metric)
    evidence = {
        "metric": metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "computed_at_versions": [at.first, at.last],
        "different_weights": when.different,
        "end_of_epoch": end,
        "largest_gap_by_timing": moved,
        "residual": ledger.residual,
    }
    if not matters and material(facts, ledger, moved):
        title = NOT_COMPARED(metric=metric, epoch=ledger.epoch, moved=moved)
        return Finding(NAME, "passed", title, evidence, "", metric, abs(moved))
    matters = matters and abs(moved) >= resolution(facts, metric) * 0.9999
    if not matters or abs(moved) <= 2 * abs(ledger.residual) or moved == 0.0:
        return Finding(NAME, "passed", NO_GAP(metric=metric, moved=abs(moved)), evidence, "", metric, abs(moved))
    batches = when.batches or at.last - at.first + 1
    title = FAILED(
        metric=metric,
        epoch=ledger.epoch,
        logged=ledger.logged,
        batches=batches,
        weights=when.different,
        different=None if when.different is None else "each" if when.different == batches else "some",
        end=end,
        decides=consequence(decisions),
    )
    if not decisions:
        return Finding(NAME, "failed", title, evidence, COMPARE(code=CODE), metric, abs(moved))
    code = f"""\
model.fit(x, y, epochs=..., validation_data=(x_val, y_val),
          callbacks=[{deciding_call(facts, decisions)}])"""
    return Finding(NAME, "failed", title, evidence, ADVICE(code=code), metric, abs(moved))


def _shown(facts: Facts) -> set[tuple[str, int]]:
    """The metrics that the script scored by itself over rows that fit trained on, and the epochs whose log these stand
    beside."""
    found = set()
    for call in facts.calls:
        if call.compared_with is not None and call.rows is not None and call.rows.kind == "training":
            found |= {(metric, call.compared_with.epoch) for metric in (*call.returned, *call.replayed)}
    return found
