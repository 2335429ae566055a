"""Rule `partial-batch-weight`: a loss counts a short batch as much as a full one (tf#38165, keras PR#19363).

In Keras 3.0 this is so for every loss. Later releases weight `loss` by rows, but the losses of a model's outputs by the
batch size the step was compiled for, which is 1 where that is open (`CompileLoss.call`,
keras/src/trainers/compile_utils.py, 3.8 to 3.15.1): so it is on TensorFlow as soon as the last batch is short.
"""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.batch_means import BatchMeans, batch_means
from diagnose.rules.common import MATERIAL, NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts

NAME = "partial-batch-weight"

SAME_SIZE = Text("partial-batch-weight.same-size", "All batches of an epoch have the same number of rows.")
NOT_RECORDED = Text("partial-batch-weight.not-recorded", "How much each batch counted in the losses was not recorded.")
BY_ROWS = Text(
    "partial-batch-weight.by-rows", "Batches have different sizes, and each counts by its rows in {losses:list}."
)
SMALL = Text(
    "partial-batch-weight.small",
    "In {loss} a batch of {fewest} rows counts as much as one of {most}, but that hardly moves it: {value:number}, by "
    "rows {by_rows:number}.",
)
FAILED = Text(
    "partial-batch-weight.failed",
    "In {loss} a batch of {fewest} rows counts as much as one of {most}: epoch {epoch} logs {value:number}; with each "
    "batch counted by its rows, as it should be, it is {by_rows:number}.",
)
ADVICE_METRICS = Text(
    "partial-batch-weight.advice-metrics",
    "Let metrics report the same functions; they go by rows:\n\n{metrics:python}\n",
)
ADVICE_SIZE = Text(
    "partial-batch-weight.advice-size",
    "Train in batches of one size: {size} divides the {rows} rows of an epoch.\n\n{code:python}\n",
)
ADVICE_EITHER = Text(
    "partial-batch-weight.advice-either",
    """\
Let metrics report the same functions; they go by rows:

{metrics:python}
Or train in batches of one size: {size} divides the {rows} rows of an epoch.

{code:python}
""",
)
ADVICE_WAIT = Text(
    "partial-batch-weight.advice-wait",
    """\
Train in batches of one size; rows that do not fill the last one wait for another epoch (shuffle puts others there):

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where the recorded counts of a loss rise by the same amount for batches of different size, and this moved
    the epoch's value."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    sizes = {e.epoch: {len(s.batch.row_ids) for s in facts.trace.index.steps_of(e.epoch)} for e in facts.epochs}
    if all(len(s) < 2 for s in sizes.values()):
        return not_applicable(NAME, SAME_SIZE())
    uneven = [e for e in facts.epochs if len(sizes[e.epoch]) > 1]
    losses = [m for e in uneven for m in batch_means(facts, e) if m.of_loss]
    if not losses:
        return not_applicable(NAME, NOT_RECORDED())
    equal = [m for m in losses if m.counts_batches]
    if not equal:
        seen = sorted({m.log for m in losses})
        return Finding(NAME, "passed", BY_ROWS(losses=seen), {"losses": seen}, "")
    worst = max(equal, key=lambda m: (_moved(m), m.epoch if _moved(m) else 0, _effect(m) / (_scale(m) or 1.0)))
    evidence = _evidence(worst, equal)
    said = {
        "loss": worst.log,
        "fewest": min(worst.rows),
        "most": max(worst.rows),
        "epoch": worst.epoch,
        "value": worst.value,
        "by_rows": worst.by_rows,
    }
    if not _moved(worst):
        return Finding(NAME, "passed", SMALL(**said), evidence, "", worst.log, _effect(worst))
    return Finding(NAME, "failed", FAILED(**said), evidence, _advice(facts, worst), worst.log, _effect(worst))


def _moved(means: BatchMeans) -> bool:
    return _effect(means) > 0.0 and _effect(means) >= MATERIAL * _scale(means)


def _effect(means: BatchMeans) -> float:
    return abs(means.value - means.by_rows)


def _scale(means: BatchMeans) -> float:
    return max(abs(means.value), abs(means.by_rows))


def _evidence(worst: BatchMeans, equal: list[BatchMeans]) -> dict[str, object]:
    short = min(range(len(worst.rows)), key=lambda i: worst.rows[i])
    full = max(range(len(worst.rows)), key=lambda i: worst.rows[i])
    return {
        "loss": worst.log,
        "epoch": worst.epoch,
        "logged": worst.value,
        "weighted_by_rows": worst.by_rows,
        "batches": [
            {"batch": i, "rows": worst.rows[i], "count": worst.counts[i], "value": worst.values[i]}
            for i in (full, short)
        ],
        "losses_counted_so": sorted({m.log for m in equal}),
    }


def _advice(facts: Facts, means: BatchMeans) -> Said:
    rows = sum(means.rows)
    full = max(means.rows)
    size = min((d for d in range(1, rows + 1) if rows % d == 0), key=lambda d: abs(d - full))
    losses = facts.trace.header.compile.loss
    metrics = None
    if isinstance(losses, dict) and losses and all(isinstance(v, str) and v.isidentifier() for v in losses.values()):
        metrics = f"losses = {losses!r}\nmodel.compile(optimizer=model.optimizer, loss=losses, metrics=losses)"
    divides = size > max(1, full // 4)
    code = f"model.fit(x, y, batch_size={size})"
    if metrics is not None:
        if divides:
            return ADVICE_EITHER(metrics=metrics, size=size, rows=rows, code=code)
        return ADVICE_METRICS(metrics=metrics)
    if divides:
        return ADVICE_SIZE(size=size, rows=rows, code=code)
    code = f"""\
full = len(x) // {full} * {full}
rows = np.random.permutation(len(x))[:full]
model.fit(x[rows], y[rows], batch_size={full})"""
    return ADVICE_WAIT(code=code)
