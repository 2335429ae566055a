"""Rule `masked-metric`: on masked data, loss and metric of the same function divide by different counts (tf#34158).

Keras 3.15.1: the loss is each batch's mean over unmasked steps, averaged over the epoch by the batches' rows
(`reduce_weighted_values`, keras/src/losses/loss.py; the loss tracker in `train_step`); the metric is the mean over all
unmasked steps of the epoch (`MeanMetricWrapper`, keras/src/metrics/reduction_metrics.py). The metric takes masked steps
for real ones in Keras 3.8 (unless it gets sample weights too), and up to 3.15.1 in `fit` on JAX, where predictions lose
their mask on the way out of `value_and_grad` (`train_step`, keras/src/backend/jax/trainer.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.batch_means import CLOSE, BatchMeans, batch_means
from diagnose.rules.common import MATERIAL, NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts

NAME = "masked-metric"

NOT_RECORDED = Text("masked-metric.not-recorded", "Whether a layer makes a mask was not recorded.")
NONE = Text("masked-metric.none", "No layer makes a mask.")
NO_PAIR = Text("masked-metric.no-pair", "No metric is the same function as the loss.")
PAIR = Text("masked-metric.pair", "{loss} and {metric}")
NOT_BY_MASK = Text(
    "masked-metric.not-by-mask", "{pairs:list} are the same function, but do not differ by the mask alone here."
)
AGREE = Text("masked-metric.agree", "A mask is at work, and {loss} and {metric} still agree: {value:number}.")
POOLED = Text(
    "masked-metric.pooled",
    "{loss} and {metric} agree on every batch, but not over epoch {epoch} ({loss} {loss_value:number}, {metric} "
    "{metric_value:number}): the loss averages batches by their rows, the metric by their unmasked steps "
    "({lowest:.0f} % to {highest:.0f} % of a batch).",
)
IGNORED = Text(
    "masked-metric.ignored",
    "{loss} and {metric} are the same function, but differ in epoch {epoch} ({loss} {loss_value:number}, {metric} "
    "{metric_value:number}): the loss leaves out masked steps, the metric counts each row in full, masked steps "
    "included.",
)
ADVICE_POOLED = Text(
    "masked-metric.advice-pooled",
    """\
Read one of the two, the same one everywhere. `{metric}` is the mean over all unmasked steps; `{loss}` changes with the
way rows fall into batches. In one batch there is only one way to count:

{code:python}
""",
)
CODE_POOLED = "model.evaluate(x, y, batch_size=len(x), return_dict=True)"
ADVICE_IGNORED = Text(
    "masked-metric.advice-ignored",
    """\
Read `{loss}`, or tell the metric by sample weights which steps are real. Here for token 0 as padding; after
`Masking(0.0)` it is `np.any(x != 0.0, axis=-1)`:

{code:python}

Weights of 1 and 0 leave the loss as it is.
""",
)
CODE_IGNORED = """\
real = (x != 0).astype("float32")
model.compile(optimizer=model.optimizer, loss=model.loss, weighted_metrics=["{name}"])
model.fit(x, y, sample_weight=real)"""


def check(facts: Facts) -> Finding:
    """Fails where loss and metric are the same function, differ in an epoch's log, and the recorded counts show that
    the mask is why."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    masking = facts.trace.header.model.masking
    if masking is None:
        return not_applicable(NAME, NOT_RECORDED())
    if not masking:
        return not_applicable(NAME, NONE())
    pairs = list(_pairs(facts))
    if not pairs:
        return not_applicable(NAME, NO_PAIR(), {"masking_layers": list(masking)})
    judged = [(loss, metric, way) for loss, metric in pairs if (way := _way(facts, loss, metric)) is not None]
    if not judged:
        title = NOT_BY_MASK(pairs=sorted({PAIR(loss=a.log, metric=b.log) for a, b in pairs}))
        return not_applicable(NAME, title, {"masking_layers": list(masking)})
    loss, metric, way = max(judged, key=_weight)
    effect = _difference(loss, metric)
    evidence = {"masking_layers": list(masking), "way": way, **_evidence(loss, metric)}
    if not _differ(loss, metric):
        title = AGREE(loss=loss.log, metric=metric.log, value=loss.value)
        return Finding(NAME, "passed", title, evidence, "", loss.log, effect)
    both = {"loss": loss.log, "metric": metric.log}
    values = {"epoch": loss.epoch, "loss_value": loss.value, "metric_value": metric.value}
    if way == "pooled":
        title = POOLED(**both, **values, lowest=100 * min(metric.shares), highest=100 * max(metric.shares))
        advice = ADVICE_POOLED(**both, code=CODE_POOLED)
    else:
        title = IGNORED(**both, **values)
        advice = ADVICE_IGNORED(**both, code=CODE_IGNORED.format(name=(metric.function or "").rpartition(".")[2]))
    return Finding(NAME, "failed", title, evidence, advice, metric.log, effect)


def _pairs(facts: Facts) -> Iterator[tuple[BatchMeans, BatchMeans]]:
    """(loss, metric of the same function) of each epoch."""
    for epoch in facts.epochs:
        means = {m.log: m for m in batch_means(facts, epoch)}
        for metric in means.values():
            if metric.same_as in means:
                yield means[metric.same_as], metric


def _way(facts: Facts, loss: BatchMeans, metric: BatchMeans) -> str | None:
    """How the two come to differ: "pooled" (the same on each batch, each batch counted by rows or by unmasked steps),
    "ignored" (the metric counts rows in full), or None where something else may be why."""
    if not loss.counts_rows:
        return None
    if all(
        math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-7) for a, b in zip(loss.values, metric.values, strict=True)
    ) and all(s <= 1 + CLOSE for s in metric.shares):
        return "pooled"
    full = all(math.isclose(s, 1.0, rel_tol=CLOSE) for s in metric.shares)
    of_keras = (metric.function or "").startswith("keras.")
    return "ignored" if full and of_keras and not _other_reasons(facts, loss) else None


def _other_reasons(facts: Facts, loss: BatchMeans) -> bool:
    """Whether sample weights or penalties may make a batch's loss another than its metric."""
    steps = facts.trace.index.steps_of(loss.epoch)
    if any(step.batch.sample_weight is not None for step in steps):
        return True
    if loss.log != "loss":
        return False  # penalties are part of the total only
    ledger = next((x for x in facts.ledgers if x.metric == "loss"), None)
    return ledger is None or ledger.split is not None


def _weight(judged: tuple[BatchMeans, BatchMeans, str]) -> tuple[bool, int, float]:
    """The last epoch in which two differ; where none do, the largest difference."""
    loss, metric, _ = judged
    differ = _differ(loss, metric)
    return differ, loss.epoch if differ else 0, _difference(loss, metric) / (_scale(loss, metric) or 1.0)


def _differ(loss: BatchMeans, metric: BatchMeans) -> bool:
    return _difference(loss, metric) > 0.0 and _difference(loss, metric) >= MATERIAL * _scale(loss, metric)


def _difference(loss: BatchMeans, metric: BatchMeans) -> float:
    return abs(loss.value - metric.value)


def _scale(loss: BatchMeans, metric: BatchMeans) -> float:
    return max(abs(loss.value), abs(metric.value))


def _evidence(loss: BatchMeans, metric: BatchMeans) -> dict[str, Any]:
    order = sorted(range(len(loss.rows)), key=lambda i: metric.shares[i])
    return {
        "loss": loss.log,
        "metric": metric.log,
        "epoch": loss.epoch,
        "logged": {loss.log: loss.value, metric.log: metric.value},
        "batches": [
            {
                "batch": i,
                "rows": loss.rows[i],
                "counted_by_the_loss": loss.counts[i],
                "counted_by_the_metric": metric.counts[i],
                "loss": loss.values[i],
                "metric": metric.values[i],
            }
            for i in dict.fromkeys((order[0], order[-1]))
        ],
    }
