"""Rule `partial-epoch`: an epoch or a validation pass goes over part of the data, so its values are those of that part
(tf#25254, keras#17453)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules import reshuffled_split
from diagnose.rules.common import NO_EPOCH, not_applicable
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
from diagnose.rules.size import largest, material
from diagnose.tracefile.about import Arguments

NAME = "partial-epoch"

SPLIT = Text("partial-epoch.split", "Rows differ between epochs because the split does: see {rule}.")
NOT_KNOWN = Text("partial-epoch.not-known", "Whether epochs cover all rows is not known: {reason}.")
WHOLE = Text(
    "partial-epoch.whole", "{epochs:plural(The one epoch had {rows} rows|Every epoch went over the same {rows} rows)}."
)
TOOK = Text("partial-epoch.took", "fit was given {batches} batches and took {steps} an epoch")
IN_ROUNDS = Text("partial-epoch.in-rounds", "every row came once before any came again")
CAME_BACK = Text("partial-epoch.came-back", "rows missing in an epoch came back in others, and no variant of them")
NOT_TOLD = Text(
    "partial-epoch.not-told",
    "the rows of the epochs differ in content, and other rows cannot be told from the same rows augmented anew in the "
    "input pipeline",
)
GIVEN_ROWS = Text("partial-epoch.given-rows", "fit was given {rows} validation rows")
VALIDATION_TOOK = Text("partial-epoch.validation-took", "fit was given {batches} validation batches and took {steps}")
VALIDATION_CAME_BACK = Text(
    "partial-epoch.validation-came-back", "rows missing in a pass came back in others, and no variant of them"
)
NOT_MEASURED = Text(
    "partial-epoch.not-measured",
    "Epochs cover part of the data; not measured, because replay was not possible: {reason}.",
)
_COVERS = (
    "{steps:given(steps_per_epoch={steps}|The data given to fit)} makes an epoch {unused:given({rows} rows, and "
    "{unused} of the {batches} batches that fit was given were never used|{rows} of {of} rows)}"
    "{times:select(other=, other rows each time|same=, the same each time|one=)}"
)
UNUSED = Text("partial-epoch.unused", f"{_COVERS}. The log tells of the rows used only.")
SMALL = Text("partial-epoch.small", f"{_COVERS}, but that moved no logged value noticeably.")
FAILED = Text(
    "partial-epoch.failed",
    f"{_COVERS}. This makes {{amount:+.6g}} of the gap between the {{metric}} logged for epoch {{epoch}} "
    "({logged:number}) and evaluate over all of them ({evaluated:number}).",
)
VALIDATION = Text(
    "partial-epoch.validation",
    "{steps:given(validation_steps={steps}|The validation data)} makes a validation pass {rows} of {of} rows, "
    "{changing:given(other rows each time|the same each time)}.",
)
VAL_LOSS = Text(
    "partial-epoch.val-loss", "The val_loss logged for epoch {epoch} ({value:number}) is that of its own rows."
)
ADVICE = Text(
    "partial-epoch.advice",
    """\
Let every epoch, and every validation pass, go over all rows: leave `steps_per_epoch` and `validation_steps` out, and
give fit data that ends (arrays, or a dataset without `.repeat()`):

{code:python}

Where short epochs are wanted, read the values of single epochs as values of other rows each, and compare models by
`val_…` over all validation rows, or by `model.evaluate`.
""",
)
CODE = "model.fit(x, y, batch_size=..., epochs=..., validation_data=(x_val, y_val))"


@dataclass(frozen=True, slots=True)
class _Part:
    """What is proven of the passes: the argument that ends them (None: the data do), rows of one pass and of all of
    them, and the proof."""

    steps: float | None
    rows: int
    of: int
    changing: bool
    proof: Said


def check(facts: Facts) -> Finding:
    """Fails where passes are proven to go over parts, and the part moves a logged value (training) or leaves rows out
    (validation)."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if reshuffled_split.check(facts).status == "failed":
        return not_applicable(NAME, SPLIT(rule=reshuffled_split.NAME))
    arguments = facts.trace.header.fit.arguments
    passes = training_passes(facts.trace)
    training = passes if isinstance(passes, str) else _training(passes, arguments)
    validation = validation_part(facts, arguments)
    if isinstance(training, _Part):
        return _training_part(facts, training, validation, arguments)
    if isinstance(validation, _Part):
        return _validation_part(facts, validation, arguments)
    if isinstance(passes, str) or training is not None:
        return not_applicable(NAME, NOT_KNOWN(reason=training))
    rows = len(passes[0])
    return Finding(NAME, "passed", WHOLE(epochs=len(passes), rows=rows), {"rows": rows, "epochs": len(passes)}, "")


def _training(passes: list[Rows], arguments: Arguments) -> _Part | Said | None:
    """A part, None for whole epochs, or why it cannot be told."""
    steps, batches = arguments.steps_per_epoch, arguments.batches
    if steps is None and len(passes) > 1 and len(passes[-1]) < len(passes[0]) and _within(passes[-1], passes[0]):
        passes = passes[:-1]  # stopped inside an epoch
    size, known = len(passes[0]), pool(passes)
    changing = not same_rows(passes)
    if isinstance(steps, int) and isinstance(batches, int) and steps < batches:
        return _Part(steps or None, size, known, changing, TOOK(batches=batches, steps=steps))
    if not changing:
        return None
    if in_rounds(passes):
        return _Part(steps or None, size, known, True, IN_ROUNDS())
    if not_variants(passes):
        return _Part(steps or None, size, known, True, CAME_BACK())
    return NOT_TOLD()


def _within(part: Rows, whole: Rows) -> bool:
    """Whether `whole` holds every row of `part`, as often."""
    rows, counts = np.unique(part, return_counts=True)
    held, of = np.unique(whole, return_counts=True)
    found = dict(zip(held.tolist(), of.tolist(), strict=True))
    return all(found.get(row, 0) >= n for row, n in zip(rows.tolist(), counts.tolist(), strict=True))


def validation_part(facts: Facts, arguments: Arguments) -> _Part | None:
    """What is proven of validation passes that go over parts; None where nothing is."""
    passes = validation_passes(facts.trace)
    if isinstance(passes, str) or not passes:
        return None
    steps = arguments.validation_steps
    size, known = len(passes[0]), pool(passes)
    changing = not same_rows(passes)
    total, batches = arguments.validation_rows, arguments.validation_batches
    if steps and isinstance(total, int) and size < total:
        return _Part(steps, size, total, changing, GIVEN_ROWS(rows=total))
    if isinstance(steps, int) and isinstance(batches, int) and steps < batches:
        proof = VALIDATION_TOOK(batches=batches, steps=steps)
        return _Part(steps or None, size, max(known, round(size * batches / steps)), changing, proof)
    # Without an argument that ends passes early, other rows in each are what `validation-changes` says.
    if steps is not None and changing and in_rounds(passes):
        return _Part(steps or None, size, known, True, IN_ROUNDS())
    if steps is not None and changing and not_variants(passes):
        return _Part(steps or None, size, known, True, VALIDATION_CAME_BACK())
    return None


def _training_part(facts: Facts, part: _Part, validation: _Part | None, arguments: Arguments) -> Finding:
    if facts.measured.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.measured.no_replay))
    evidence: dict[str, Any] = {
        "steps_per_epoch": arguments.steps_per_epoch,
        "batches": arguments.batches,
        "rows_of_an_epoch": part.rows,
        "rows_of_all_epochs": part.of,
        "other_rows_each_epoch": part.changing,
        "proof": part.proof,
    } | _validation_evidence(validation)
    unused = _unused(facts, arguments)
    if unused:
        evidence["batches_never_used"] = unused
    covers = {
        "steps": part.steps,
        "rows": part.rows,
        "of": part.of,
        "unused": unused or None,
        "batches": arguments.batches,
        "times": "one" if len(facts.epochs) < 2 else "other" if part.changing else "same",
    }
    also = "" if validation is None else _validation_sentence(validation)
    found = largest(facts, "data-coverage")
    if found is None or not material(facts, found[0], found[1].amount):
        if unused:
            title = sentences(UNUSED(**covers), also)
            return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE))
        if validation is not None:
            return _validation_part(facts, validation, arguments)
        amount = 0.0 if found is None else abs(found[1].amount)
        metric = None if found is None else found[0].metric
        return Finding(NAME, "passed", SMALL(**covers), evidence, "", metric, amount)
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
    failed = FAILED(
        **covers,
        amount=entry.amount,
        metric=ledger.metric,
        epoch=ledger.epoch,
        logged=ledger.logged,
        evaluated=ledger.evaluated,
    )
    title = sentences(failed, also)
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE), ledger.metric, abs(entry.amount))


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
        title = sentences(title, VAL_LOSS(epoch=epoch.epoch, value=epoch.logs[metric]))
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE), metric)


def _validation_evidence(part: _Part | None) -> dict[str, Any]:
    if part is None:
        return {}
    return {
        "validation_rows_of_a_pass": part.rows,
        "validation_rows": part.of,
        "other_validation_rows_each_epoch": part.changing,
        "validation_proof": part.proof,
    }


def _validation_sentence(part: _Part) -> Said:
    return VALIDATION(steps=part.steps, rows=part.rows, of=part.of, changing=part.changing)
