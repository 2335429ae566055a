"""Rule `reshuffled-split`: `take`/`skip` after a `shuffle` that reshuffles: training and validation rows are drawn
anew each epoch, and validation rows are trained on (tf#59279)."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.passes import (
    Rows,
    distinct,
    not_variants,
    same_rows,
    training_passes,
    validation_passes,
)

NAME = "reshuffled-split"

NO_VALIDATION = Text("reshuffled-split.no-validation", "There was no validation.")
NOT_KNOWN = Text("reshuffled-split.not-known", "The rows of training and validation are not known: {reason}.")
TOO_FEW = Text("reshuffled-split.too-few", "There were fewer than two epochs with validation to compare.")
SAME_ROWS = Text("reshuffled-split.same-rows", "Validation went over the same {rows} rows every time.")
NOT_TRAINED_ON = Text(
    "reshuffled-split.not-trained-on", "Validation rows differ between epochs, but none of them was trained on."
)
TRAINING_DATA = Text("reshuffled-split.training-data", "The training data itself was given as validation data.")
ENDS_EARLY = Text(
    "reshuffled-split.ends-early",
    "{argument} ends passes early, so rows that change sides do not show how the data was split.",
)
SAMPLED = Text(
    "reshuffled-split.sampled",
    "Training went over the same rows every epoch; validation samples rows, among them rows trained on.",
)
NOT_TOLD = Text(
    "reshuffled-split.not-told",
    "Rows differ between epochs, but in these few epochs another split cannot be told from rows augmented anew in the "
    "input pipeline, or from equal rows in the data.",
)
FAILED = Text(
    "reshuffled-split.failed",
    "The split is drawn anew each epoch: {seen} of the {rows} validation rows of epoch {epoch} had been trained on, so "
    "its val_ values are not those of unseen rows. {shared} of {all} rows were on both sides.",
)
ADVICE = Text(
    "reshuffled-split.advice",
    """\
Shuffle once before the split, and reshuffle only the training part:

{code:python}

What this fit logged as `val_…` says nothing about unseen rows; train again with a fixed split.
""",
)
CODE = """\
dataset = dataset.shuffle(rows, seed=0, reshuffle_each_iteration=False)
validation = dataset.take(validation_rows).batch(batch_size)
training = dataset.skip(validation_rows).shuffle(rows).batch(batch_size)
model.fit(training, epochs=..., validation_data=validation)"""


def check(facts: Facts) -> Finding:
    """Fails where both sides change from epoch to epoch, rows change sides, and this is neither augmentation nor the
    training data given for validation."""
    if not facts.trace.evaluations:
        return not_applicable(NAME, NO_VALIDATION())
    training, validation = training_passes(facts.trace), validation_passes(facts.trace)
    for found in (training, validation):
        if isinstance(found, str):
            return not_applicable(NAME, NOT_KNOWN(reason=found))
    assert not isinstance(training, str) and not isinstance(validation, str)
    if len(validation) < 2 or len(training) < 2:
        return not_applicable(NAME, TOO_FEW())
    if same_rows(validation):
        return Finding(NAME, "passed", SAME_ROWS(rows=len(validation[0])), {"validation_rows": len(validation[0])}, "")
    shared = np.intersect1d(distinct(training), distinct(validation))
    if not len(shared):
        return Finding(NAME, "passed", NOT_TRAINED_ON(), {"rows_on_both_sides": 0}, "")
    reason = _other_reason(facts, training, validation)
    if reason is not None:
        return not_applicable(NAME, reason, {"rows_on_both_sides": len(shared)})
    return _failed(facts, training, validation, len(shared))


def _other_reason(facts: Facts, training: list[Rows], validation: list[Rows]) -> Said | None:
    """Why rows on both sides do not prove a split that was drawn anew; None where they do."""
    arguments = facts.trace.header.fit.arguments
    if arguments.validation_is_training:
        return TRAINING_DATA()
    for name in ("steps_per_epoch", "validation_steps"):
        if getattr(arguments, name) is not None:
            return ENDS_EARLY(argument=name)
    if same_rows(training):
        return SAMPLED()
    # Passes of one length might be the same data twice, with rows in variants; then all of them would be.
    passes = [*training, *validation] if len(training[0]) == len(validation[0]) else training
    if not not_variants(passes):
        return NOT_TOLD()
    return None


def _failed(facts: Facts, training: list[Rows], validation: list[Rows], shared: int) -> Finding:
    last = facts.trace.evaluations[-1]
    before = [rows for rows, epoch in zip(training, facts.epochs, strict=True) if epoch.epoch <= last.epoch]
    held = validation[-1]
    seen = int(np.isin(held, distinct(before)).sum())
    first_time = len(np.setdiff1d(held, distinct(validation[:-1])))
    evidence: dict[str, Any] = {
        "epoch": last.epoch,
        "validation_rows": len(held),
        "validation_rows_trained_on_before": seen,
        "validation_rows_not_in_an_earlier_pass": first_time,
        "training_rows_of_an_epoch": len(training[-1]),
        "rows_in_all": len(distinct([*training, *validation])),
        "rows_on_both_sides": shared,
    }
    title = FAILED(seen=seen, rows=len(held), epoch=last.epoch, shared=shared, all=evidence["rows_in_all"])
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE))
