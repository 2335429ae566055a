"""Rule `penalty-in-loss`: `loss` holds penalties (regularizers, `add_loss`), and the metric of the same function does
not (keras#6518, keras#20388)."""

from __future__ import annotations

from typing import Any

from diagnose.result.diagnosis import Finding, Ledger
from diagnose.result.texts import Text
from diagnose.rules.common import MATERIAL, NOT_MEASURED, NOT_REPLAYED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_of_fit

NAME = "penalty-in-loss"

SQUARED = ("mse", "mean_squared_error", "MSE")
"""The loss by the names it may be compiled under, of which predictions are scored by row."""

NONE = Text("penalty-in-loss.none", "The loss holds no penalties: no regularizers, no add_loss.")
SMALL = Text(
    "penalty-in-loss.small",
    "Penalties are only {penalties:number} of the loss {logged:number} logged for epoch {epoch}.",
)
NO_TWIN = Text(
    "penalty-in-loss.no-twin",
    "Penalties are {penalties:number} of the loss {logged:number} logged for epoch {epoch}; the log holds no metric of "
    "the same function that could be taken for it.",
)
FAILED = Text(
    "penalty-in-loss.failed",
    "loss and {metric} are the same function, but the loss {logged:number} logged for epoch {epoch} holds "
    "{penalties:number} of penalties; without them it is {data:number} ({metric}: {beside:number}).",
)
OF_CALL = Text(
    "penalty-in-loss.of-call",
    "{file}:{line}: over these rows evaluate gives loss {loss:number}, which holds {penalties:number} of penalties; "
    "the mean squared error of the predictions, by the labels of these rows, is {mse:number}.",
)
ADVICE = Text(
    "penalty-in-loss.advice",
    """\
Read `{metric}` where the fit to the data counts. It is the loss without penalties, and so is

{code:python}

for penalties on weights (those that depend on the batch are those of the model's last call). To decide by it as well:

{call:python}
""",
)
CODE = """\
penalties = sum(float(keras.ops.sum(p)) for p in model.losses)
data_loss = model.evaluate(x, y, return_dict=True)["loss"] - penalties"""


def check(facts: Facts) -> Finding:
    """Fails where penalties are a material part of `loss` and the same function, without them, stands beside it in
    the logs."""
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    ledgers = [x for x in facts.ledgers if x.metric == "loss"]
    if not ledgers:
        return not_applicable(NAME, NOT_REPLAYED(metric="loss"))
    split = [x for x in ledgers if x.split is not None]
    if not split:
        return not_applicable(NAME, NONE())
    same = [v.log for v in facts.trace.header.metric_variables if v.log is not None and v.same_as == "loss"]
    ledger = max(split, key=_share)
    assert ledger.split is not None
    penalties, data = ledger.split.penalties, ledger.split.data
    evidence: dict[str, Any] = {
        "epoch": ledger.epoch,
        "loss": {"logged": ledger.logged, "evaluated": ledger.evaluated},
        "penalties": {"logged": penalties.logged, "evaluated": penalties.evaluated},
        "data_loss": {"logged": data.logged, "evaluated": data.evaluated},
        "same_function": {name: _logged(facts, ledger.epoch, name) for name in same},
    }
    effect = abs(penalties.logged)
    said = {"penalties": penalties.logged, "logged": ledger.logged, "epoch": ledger.epoch}
    if _share(ledger) < MATERIAL or effect <= 2 * abs(ledger.residual):
        return Finding(NAME, "passed", SMALL(**said), evidence, "", "loss", effect)
    of_call = None if same else _of_call(facts, penalties.evaluated)
    if of_call is not None:
        return of_call
    if not same:
        return Finding(NAME, "passed", NO_TWIN(**said), evidence, "", "loss", effect)
    metric = same[0]
    beside = _logged(facts, ledger.epoch, metric)
    title = FAILED(**said, metric=metric, data=data.logged, beside=beside)
    call = call_of_fit(facts, "early-stopping", monitor=f"val_{metric}", mode="min", baseline=None)
    advice = ADVICE(metric=metric, code=CODE, call=f"callbacks = [{call}]")
    return Finding(NAME, "failed", title, evidence, advice, "loss", effect)


def _of_call(facts: Facts, penalties: float) -> Finding | None:
    """Predictions after the fit whose error, by the labels, is what the loss over these rows is without its
    penalties: the script may hold the two against one another."""
    if facts.trace.header.compile.loss not in SQUARED:
        return None
    for call in reversed(facts.calls):
        loss, mse = call.replayed.get("loss"), None if call.scored is None else call.scored.values.get("mse")
        if call.epoch is not None or not call.after_fit or loss is None or mse is None or call.weighted:
            continue
        held = loss - mse
        if abs(held - penalties) > 1e-3 * penalties or held < MATERIAL * abs(loss):
            continue
        said = {"file": call.file, "line": call.line, "loss": loss, "penalties": held, "mse": mse}
        code = call_of_fit(facts, "early-stopping", monitor="val_mse", mode="min", baseline=None)
        advice = ADVICE(metric="mse", code=CODE, call=f'model.compile(..., metrics=["mse"])\ncallbacks = [{code}]')
        return Finding(NAME, "failed", OF_CALL(**said), dict(said), advice, "loss", held)
    return None


def _share(ledger: Ledger) -> float:
    """The larger part that penalties make of the loss, logged or evaluated."""
    assert ledger.split is not None
    penalties = ledger.split.penalties
    pairs = ((penalties.logged, ledger.logged), (penalties.evaluated, ledger.evaluated))
    return max(abs(p) / abs(whole) if whole else 0.0 for p, whole in pairs)


def _logged(facts: Facts, epoch: int, name: str) -> float | None:
    value = next((e.logs.get(name) for e in facts.epochs if e.epoch == epoch), None)
    return float(value) if isinstance(value, (int, float)) else None
