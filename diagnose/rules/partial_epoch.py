"""Rule `partial-epoch`: an epoch or a validation pass goes over part of the data, so its values are those of that part
(tf#25254, keras#17453)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.result.diagnosis import Finding
from diagnose.rules import reshuffled_split
from diagnose.rules.common import largest, material, not_applicable, number
from diagnose.rules.facts import Facts
from diagnose.rules.passes import (
    Rows,
    in_rounds,
    not_variants,
    pool,
    same_rows,
    training_passes,
    validation_passes,
)
from diagnose.tracefile.about import Arguments

NAME = "partial-epoch"

ADVICE = """\
Let every epoch, and every validation pass, go over all rows: leave `steps_per_epoch` and `validation_steps` out, and
give fit data that ends (arrays, or a dataset without `.repeat()`):

```python
model.fit(x, y, batch_size=..., epochs=..., validation_data=(x_val, y_val))
```

Where short epochs are wanted, read the values of single epochs as values of other rows each, and compare models by
`val_…` over all validation rows, or by `model.evaluate`.
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """What is proven of the passes: `cause` in words, rows of one pass and of all of them, and the proof."""

    cause: str
    rows: int
    of: int
    changing: bool
    proof: str


def check(facts: Facts) -> Finding:
    """Fails where passes are proven to go over parts, and the part moves a logged value (training) or leaves rows out
    (validation)."""
    if not facts.epochs:
        return not_applicable(NAME, "No epoch was finished.")
    if reshuffled_split.check(facts).status == "failed":
        return not_applicable(NAME, f"Rows differ between epochs because the split does: see {reshuffled_split.NAME}.")
    arguments = facts.trace.header.fit.arguments
    passes = training_passes(facts.trace)
    training = passes if isinstance(passes, str) else _training(passes, arguments)
    validation = _validation(facts, arguments)
    if isinstance(training, _Part):
        return _training_part(facts, training, validation, arguments)
    if isinstance(validation, _Part):
        return _validation_part(facts, validation, arguments)
    if isinstance(passes, str) or training is not None:
        return not_applicable(NAME, f"Whether epochs cover all rows is not known: {training}.")
    rows = len(passes[0])
    title = f"Every epoch went over the same {rows} rows." if len(passes) > 1 else f"The one epoch had {rows} rows."
    return Finding(NAME, "passed", title, {"rows": rows, "epochs": len(passes)}, "")


def _training(passes: list[Rows], arguments: Arguments) -> _Part | str | None:
    """A part, None for whole epochs, or why it cannot be told."""
    steps, batches = arguments.steps_per_epoch, arguments.batches
    if steps is None and len(passes) > 1 and len(passes[-1]) < len(passes[0]) and _within(passes[-1], passes[0]):
        passes = passes[:-1]  # stopped inside an epoch
    size, known = len(passes[0]), pool(passes)
    cause = f"steps_per_epoch={steps}" if steps else "the data given to fit"
    changing = not same_rows(passes)
    if isinstance(steps, int) and isinstance(batches, int) and steps < batches:
        return _Part(cause, size, known, changing, f"fit was given {batches} batches and took {steps} an epoch")
    if not changing:
        return None
    if in_rounds(passes):
        return _Part(cause, size, known, True, "every row came once before any came again")
    if not_variants(passes):
        return _Part(cause, size, known, True, "rows missing in an epoch came back in others, and no variant of them")
    return (
        "the rows of the epochs differ in content, and other rows cannot be told from the same rows augmented anew in "
        "the input pipeline"
    )


def _within(part: Rows, whole: Rows) -> bool:
    """Whether `whole` holds every row of `part`, as often."""
    rows, counts = np.unique(part, return_counts=True)
    held, of = np.unique(whole, return_counts=True)
    found = dict(zip(held.tolist(), of.tolist(), strict=True))
    return all(found.get(row, 0) >= n for row, n in zip(rows.tolist(), counts.tolist(), strict=True))


def _validation(facts: Facts, arguments: Arguments) -> _Part | None:
    passes = validation_passes(facts.trace)
    if isinstance(passes, str) or not passes:
        return None
    steps = arguments.validation_steps
    size, known = len(passes[0]), pool(passes)
    changing = not same_rows(passes)
    cause = f"validation_steps={steps}" if steps else "the validation data"
    total, batches = arguments.validation_rows, arguments.validation_batches
    if steps and isinstance(total, int) and size < total:
        return _Part(cause, size, total, changing, f"fit was given {total} validation rows")
    if isinstance(steps, int) and isinstance(batches, int) and steps < batches:
        proof = f"fit was given {batches} validation batches and took {steps}"
        return _Part(cause, size, max(known, round(size * batches / steps)), changing, proof)
    if changing and not_variants(passes):
        proof = "rows missing in a pass came back in others, and no variant of them"
        return _Part(cause, size, known, True, proof)
    return None


def _training_part(facts: Facts, part: _Part, validation: _Part | None, arguments: Arguments) -> Finding:
    if facts.no_replay is not None:
        return not_applicable(
            NAME, f"Epochs cover part of the data; not measured, because replay was not possible: {facts.no_replay}."
        )
    evidence: dict[str, Any] = {
        "steps_per_epoch": arguments.steps_per_epoch,
        "batches": arguments.batches,
        "rows_of_an_epoch": part.rows,
        "rows_of_all_epochs": part.of,
        "other_rows_each_epoch": part.changing,
        "proof": part.proof,
    } | _validation_evidence(validation)
    covers = f"{_capital(part.cause)} makes an epoch {part.rows} of {part.of} rows"
    unused = _unused(facts, arguments)
    if unused:
        evidence["batches_never_used"] = unused
        covers = (
            f"{part.cause} makes an epoch {part.rows} rows, and {unused} of the {arguments.batches} batches that "
            "fit was given were never used"
        )
    if len(facts.epochs) > 1:
        covers += ", other rows each time" if part.changing else ", the same each time"
    also = "" if validation is None else f" {_validation_sentence(validation)}"
    found = largest(facts, "data-coverage")
    if found is None or not material(found[0], found[1].amount):
        if unused:
            title = f"{covers}. The log tells of the rows used only.{also}"
            return Finding(NAME, "failed", title, evidence, ADVICE)
        if validation is not None:
            return _validation_part(facts, validation, arguments)
        amount = 0.0 if found is None else abs(found[1].amount)
        title = f"{covers}, but that moved no logged value noticeably."
        return Finding(NAME, "passed", title, evidence, "", None if found is None else found[0].metric, amount)
    ledger, entry = found
    evidence |= {
        "metric": ledger.metric,
        "epoch": ledger.epoch,
        "logged": ledger.logged,
        "evaluated": ledger.evaluated,
        "data_coverage": entry.amount,
        "low": entry.low,
        "high": entry.high,
    }
    title = (
        f"{covers}. This makes {entry.amount:+.6g} of the gap between the {ledger.metric} logged for epoch "
        f"{ledger.epoch} ({number(ledger.logged)}) and evaluate over all of them ({number(ledger.evaluated)}).{also}"
    )
    return Finding(NAME, "failed", title, evidence, ADVICE, ledger.metric, abs(entry.amount))


def _unused(facts: Facts, arguments: Arguments) -> int:
    """Batches of the data that fit never came to, where Keras knows how many there are."""
    batches, steps = arguments.batches, arguments.steps_per_epoch
    if not isinstance(batches, int) or not isinstance(steps, int):
        return 0
    return max(0, batches - facts.trace.updates)


def _validation_part(facts: Facts, part: _Part, arguments: Arguments) -> Finding:
    evidence = {"validation_steps": arguments.validation_steps} | _validation_evidence(part)
    title = _validation_sentence(part)
    epoch = facts.epochs[-1]
    metric = next((name for name in epoch.logs if name == "val_loss"), None)
    if metric is not None and isinstance(epoch.logs[metric], (int, float)):
        title += f" The val_loss logged for epoch {epoch.epoch} ({number(epoch.logs[metric])}) is that of its own rows."
    return Finding(NAME, "failed", title, evidence, ADVICE, metric)


def _validation_evidence(part: _Part | None) -> dict[str, Any]:
    if part is None:
        return {}
    return {
        "validation_rows_of_a_pass": part.rows,
        "validation_rows": part.of,
        "other_validation_rows_each_epoch": part.changing,
        "validation_proof": part.proof,
    }


def _validation_sentence(part: _Part) -> str:
    which = "other rows each time" if part.changing else "the same each time"
    return f"{_capital(part.cause)} makes a validation pass {part.rows} of {part.of} rows, {which}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text
