"""Rule `partial-batch-weight`: a loss counts a short batch as much as a full one (tf#38165, keras PR#19363).

In Keras 3.0 this is so for every loss. Later releases weight `loss` by rows, but the losses of a model's outputs by the
batch size the step was compiled for, which is 1 where that is open (`CompileLoss.call`,
keras/src/trainers/compile_utils.py, 3.8 to 3.15.1): so it is on TensorFlow as soon as the last batch is short.
"""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.rules.batch_means import BatchMeans, batch_means
from diagnose.rules.common import MATERIAL, not_applicable, number
from diagnose.rules.facts import Facts

NAME = "partial-batch-weight"


def check(facts: Facts) -> Finding:
    """Fails where the recorded counts of a loss rise by the same amount for batches of different size, and this moved
    the epoch's value."""
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    sizes = {e.epoch: {len(s.batch.row_ids) for s in facts.trace.index.steps_of(e.epoch)} for e in facts.epochs}
    if all(len(s) < 2 for s in sizes.values()):
        return not_applicable(NAME, "All batches of an epoch have the same number of rows.")
    uneven = [e for e in facts.epochs if len(sizes[e.epoch]) > 1]
    losses = [m for e in uneven for m in batch_means(facts, e) if m.of_loss]
    if not losses:
        return not_applicable(NAME, "How much each batch counted in the losses was not recorded.")
    equal = [m for m in losses if m.counts_batches]
    if not equal:
        seen = sorted({m.log for m in losses})
        title = f"Batches have different sizes, and each counts by its rows in {', '.join(seen)}."
        return Finding(NAME, "passed", title, {"losses": seen}, "")
    worst = max(equal, key=lambda m: (_moved(m), m.epoch if _moved(m) else 0, _effect(m) / (_scale(m) or 1.0)))
    evidence = _evidence(worst, equal)
    if not _moved(worst):
        title = (
            f"In {worst.log} a batch of {min(worst.rows)} rows counts as much as one of {max(worst.rows)}, "
            f"but that hardly moves it: {number(worst.value)}, by rows {number(worst.by_rows)}."
        )
        return Finding(NAME, "passed", title, evidence, "", worst.log, _effect(worst))
    title = (
        f"In {worst.log} a batch of {min(worst.rows)} rows counts as much as one of {max(worst.rows)}: epoch "
        f"{worst.epoch} logs {number(worst.value)}; with each batch counted by its rows, as it should be, it is "
        f"{number(worst.by_rows)}."
    )
    return Finding(NAME, "failed", title, evidence, _advice(facts, worst), worst.log, _effect(worst))


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


def _advice(facts: Facts, means: BatchMeans) -> str:
    rows = sum(means.rows)
    full = max(means.rows)
    size = min((d for d in range(1, rows + 1) if rows % d == 0), key=lambda d: abs(d - full))
    losses = facts.trace.header.compile.loss
    text = ""
    if isinstance(losses, dict) and losses and all(isinstance(v, str) and v.isidentifier() for v in losses.values()):
        text = f"""\
Let metrics report the same functions; they go by rows:

```python
losses = {losses!r}
model.compile(optimizer=model.optimizer, loss=losses, metrics=losses)
```
"""
    if size > max(1, full // 4):
        text += f"""\
{"Or train" if text else "Train"} in batches of one size: {size} divides the {rows} rows of an epoch.

```python
model.fit(x, y, batch_size={size})
```
"""
    return (
        text
        or f"""\
Train in batches of one size; rows that do not fill the last one wait for another epoch (shuffle puts others there):

```python
full = len(x) // {full} * {full}
rows = np.random.permutation(len(x))[:full]
model.fit(x[rows], y[rows], batch_size={full})
```
"""
    )
