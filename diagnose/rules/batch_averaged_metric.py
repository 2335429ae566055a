"""Rule `batch-averaged-metric`: a plain function that gives one number per batch (recall, F1, a sum) is averaged over
batches, so the value depends on the batch size (keras#4592, keras#8421)."""

from __future__ import annotations

from typing import Any

from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding, Ledger
from diagnose.result.texts import Said, Text
from diagnose.rules.batch_means import BatchMeans, batch_means, close
from diagnose.rules.common import MATERIAL, NO_EPOCH, NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.size import apart, material

NAME = "batch-averaged-metric"

NOT_RECORDED = Text("batch-averaged-metric.not-recorded", "How the metrics add up was not recorded.")
NONE = Text("batch-averaged-metric.none", "No metric takes one number per batch.")
NOT_REPLAYED = Text("batch-averaged-metric.not-replayed", "{metrics:list} could not be replayed.")
_MEAN = (
    "{metric} is the mean of {batches} numbers, one per batch of {uneven:given(up to {rows} rows|{rows} rows)} "
    "({lowest:number} to {highest:number})"
)
AT_ONCE = Text(
    "batch-averaged-metric.at-once",
    f"{_MEAN}: the model after fit has {{evaluated:number}} in batches like fit's, and {{whole:number}} over all rows "
    "at once.",
)
OTHER_BATCHES = Text(
    "batch-averaged-metric.other-batches",
    f"{_MEAN}: that evaluate's batches hold other rows makes {{amount:+.6g}} of the way from {{logged:number}}, logged "
    "for epoch {epoch}, to {evaluated:number}, evaluated.",
)
OF_CALL = Text(
    "batch-averaged-metric.of-call",
    "{file}:{line}: {call} returned {metric} {value:number}{size:given( in batches of {size})}; the same weights and "
    "rows in batches as {training:given(fit had|the validation pass had)} give {other:number}: the value depends on "
    "how rows are batched.",
)
SMALL = Text("batch-averaged-metric.small", f"{_MEAN}, which moves it by only {{effect:number}} here.")


def check(facts: Facts) -> Finding:
    """Fails where the recorded counts show that a metric takes one number per batch, and the same weights give another
    value over all rows at once, or over evaluate's batches."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    call = _of_call(facts)
    if call is not None:
        return call
    if not any(v.of_loss is not None for v in facts.trace.header.metric_variables):
        return not_applicable(NAME, NOT_RECORDED())
    found = {m.log: m for e in facts.epochs for m in batch_means(facts, e) if one_per_batch(m)}
    if not found:
        return not_applicable(NAME, NONE())
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    measured = [x for m in found.values() if (x := _measure(facts, m)) is not None]
    if not measured:
        return not_applicable(NAME, NOT_REPLAYED(metrics=sorted(found)))
    return max(measured, key=lambda f: (f.status == "failed", f.evidence["relative"]))


def _of_call(facts: Facts) -> Finding | None:
    """The call of the script's own whose value is most from other batches than fit's (or the validation pass's)."""
    found: list[tuple[float, Call, float, float]] = []
    for call in facts.calls:
        amount = next((e.amount for e in call.entries if e.factor == "batching"), 0.0)
        value, rows = call.value, None if call.rows is None else call.rows.count
        if value is not None and call.reproduced and abs(amount) > 2 * abs(call.residual or 0.0):
            far = apart(facts.trace, call.metric, rows, value, value - amount)
            found += [(far, call, amount, value)] if far else []
    if not found:
        return None
    _, call, amount, value = max(found, key=lambda x: x[0])
    evidence = {"file": call.file, "line": call.line, "batch_size": call.batch_size, "amount": amount}
    title = OF_CALL(
        file=call.file,
        line=call.line,
        call=call.call,
        metric=call.metric,
        value=value,
        size=call.batch_size,
        other=value - amount,
        training=call.rows is None or (call.rows.of or call.rows.kind) == "training",
    )
    advice = OF_LOSS(code=LOSS_CODE) if call.metric.endswith("loss") else _advice(call.metric)
    return Finding(NAME, "failed", title, evidence, advice, call.metric, abs(amount))


def one_per_batch(means: BatchMeans) -> bool:
    """Whether a metric of the user's counts each batch as one, though it holds several rows."""
    return not means.of_loss and min(means.rows) >= 1 and max(means.rows) > 1 and close([1.0, *means.counts])


def _measure(facts: Facts, means: BatchMeans) -> Finding | None:
    """The finding on one metric: by the value over all rows at once where there is one, else by the ledger."""
    metric = means.log
    evaluated, whole = facts.measured.evaluated.get(metric), facts.measured.in_one_batch.get(metric)
    logged = facts.epochs[-1].logs.get(metric)
    evidence: dict[str, Any] = {
        "metric": metric,
        "epoch": means.epoch,
        "logged": logged,
        "batches": len(means.rows),
        "rows": [min(means.rows), max(means.rows)],
        "counts": sum(means.counts),
        "lowest_of_a_batch": min(means.values),
        "highest_of_a_batch": max(means.values),
        "evaluated": evaluated,
        "in_one_batch": whole,
    }
    mean: dict[str, Any] = {
        "metric": metric,
        "batches": len(means.rows),
        "uneven": min(means.rows) != max(means.rows),
        "rows": max(means.rows),
        "lowest": min(means.values),
        "highest": max(means.values),
    }
    if evaluated is not None and whole is not None:
        effect, against = abs(whole - evaluated), max(abs(whole), abs(evaluated))
        title = AT_ONCE(**mean, evaluated=evaluated, whole=whole)
        failed = effect >= MATERIAL * against and effect > 0.0
    else:
        ledger = _ledger(facts, metric)
        if ledger is None:
            return None
        amount = next((e.amount for e in ledger.entries if e.factor == "aggregation"), 0.0)
        effect, against = abs(amount), max(abs(ledger.logged), abs(ledger.evaluated))
        evidence |= {"ledger_epoch": ledger.epoch, "amount": amount, "residual": ledger.residual}
        title = OTHER_BATCHES(
            **mean, amount=amount, logged=ledger.logged, epoch=ledger.epoch, evaluated=ledger.evaluated
        )
        failed = material(facts, ledger, amount)
    evidence["relative"] = effect / against if against else 0.0
    if not failed:
        return Finding(NAME, "passed", SMALL(**mean, effect=effect), evidence, "", metric, effect)
    return Finding(NAME, "failed", title, evidence, _advice(metric), metric, effect)


def _ledger(facts: Facts, metric: str) -> Ledger | None:
    """That with the largest aggregation amount."""

    def amount(ledger: Ledger) -> float:
        return max((abs(e.amount) for e in ledger.entries if e.factor == "aggregation"), default=0.0)

    return max((x for x in facts.ledgers if x.metric == metric), key=amount, default=None)


def _advice(metric: str) -> Said:
    function = metric if metric.isidentifier() else "metric_function"
    call = f"{function}(keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(model.predict(x, verbose=0)))"
    return ADVICE(call=f"value = {call}", code=CODE)


ADVICE = Text(
    "batch-averaged-metric.advice",
    """\
Compute it over all rows at once, after training:

{call:python}

or during training with a metric that adds up over batches what it needs, as Keras's own classes do
(`keras.metrics.Precision()`, `Recall()`, `F1Score(threshold=0.5)`, `R2Score()`, `Sum()`). One of your own:

{code:python}
""",
)
OF_LOSS = Text(
    "batch-averaged-metric.of-loss",
    """\
Compare values over batches of one size, or make the loss one number per row, of which Keras then takes the mean:

{code:python}
""",
)
LOSS_CODE = """\
model.fit(x_train, y_train, batch_size=64, validation_data=(x_val, y_val), validation_batch_size=64)
model.evaluate(x_val, y_val, batch_size=64)"""
CODE = """\
class Pooled(keras.metrics.Metric):
    def __init__(self, name="pooled_recall", **kwargs):
        super().__init__(name=name, **kwargs)
        self.hits = self.add_weight(name="hits", initializer="zeros")
        self.positives = self.add_weight(name="positives", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = keras.ops.reshape(keras.ops.cast(y_true, "float32"), (-1,))
        y_pred = keras.ops.round(keras.ops.reshape(y_pred, (-1,)))
        self.hits.assign_add(keras.ops.sum(y_true * y_pred))
        self.positives.assign_add(keras.ops.sum(y_true))

    def result(self):
        return keras.ops.divide_no_nan(self.hits, self.positives)"""
