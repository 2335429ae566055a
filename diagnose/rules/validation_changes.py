"""Rule `validation-changes`: validation goes over other rows in each epoch (a random sample, noise or augmentation in
its pipeline), so its values cannot be compared between epochs."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from diagnose.decide.watched import watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules import partial_epoch, reshuffled_split
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.passes import Rows, distinct, same_rows, validation_passes

NAME = "validation-changes"

SMALL: Final = 0.02
"""Share of a pass that may be other rows without a finding: what a short last batch leaves out."""

NO_VALIDATION = Text("validation-changes.no-validation", "There was no validation.")
NOT_KNOWN = Text("validation-changes.not-known", "The rows of validation are not known: {reason}.")
TOO_FEW = Text("validation-changes.too-few", "There was one validation pass, and nothing to compare it with.")
SAME = Text("validation-changes.same", "Validation went over the same {rows} rows in all {passes} passes.")
NEARLY = Text(
    "validation-changes.nearly",
    "Validation passes have all but {share:.1%} of their rows in common with the one before.",
)
DRAWN_ANEW = Text(
    "validation-changes.drawn-anew",
    "The split is drawn anew each epoch, and with it the validation rows: see reshuffled-split.",
)
ENDS_EARLY = Text(
    "validation-changes.ends-early",
    "validation_steps ends each pass early, so passes go over parts of the data: see partial-epoch.",
)
FAILED = Text(
    "validation-changes.failed",
    "Validation goes over other rows in each epoch: the {passes} passes of about {rows} rows have {all} different rows "
    "between them{common:given(, {common} of them in every pass|, none of them in every pass)}. A change of a val_ "
    "value from epoch to epoch is in part a change of rows{watched:given(, and {watched:list} chose by it)}.",
)
ADVICE = Text(
    "validation-changes.advice",
    "Draw the validation rows once, before fit, with whatever is random in their pipeline, and give fit the arrays:\n\n"
    "{code:python}\n",
)
CODE = """\
batches = [tuple(np.asarray(part) for part in batch) for _, batch in zip(range(BATCHES), validation)]
x_val, y_val = (np.concatenate(parts) for parts in zip(*batches))
model.fit(x, y, epochs=..., validation_data=(x_val, y_val))"""


def check(facts: Facts) -> Finding:
    """Fails where a material part of the rows of a pass are not those of the pass before."""
    trace = facts.trace
    if not trace.evaluations:
        return not_applicable(NAME, NO_VALIDATION())
    passes = validation_passes(trace)
    if isinstance(passes, str):
        return not_applicable(NAME, NOT_KNOWN(reason=passes))
    if len(passes) < 2:
        return not_applicable(NAME, TOO_FEW())
    rows = len(passes[0])
    if same_rows(passes):
        return Finding(NAME, "passed", SAME(rows=rows, passes=len(passes)), {"validation_rows": rows}, "")
    if reshuffled_split.check(facts).status == "failed":
        return not_applicable(NAME, DRAWN_ANEW())
    if partial_epoch.validation_part(facts, trace.header.fit.arguments) is not None:
        return not_applicable(NAME, ENDS_EARLY())
    changed = max(_changed(one, other) for one, other in pairwise(passes))
    if changed < SMALL:
        return Finding(NAME, "passed", NEARLY(share=changed), {"validation_rows": rows, "changed": changed}, "")
    common = distinct([passes[0]])
    for one in passes[1:]:
        common = np.intersect1d(common, one)
    watched = sorted({w.callback for w in watchers(trace) if w.source == "validation"})
    evidence = {
        "validation_rows_of_a_pass": rows,
        "passes": len(passes),
        "different_rows": len(distinct(passes)),
        "rows_in_every_pass": len(common),
        "largest_change": changed,
        "callbacks": watched,
    }
    title = FAILED(
        passes=len(passes),
        rows=rows,
        all=evidence["different_rows"],
        common=len(common) or None,
        watched=watched or None,
    )
    taken = trace.evaluations[0].batches
    batches = max(1, 0 if taken is None else len(list(trace.batches(taken))))
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE.replace("BATCHES", str(batches))))


def _changed(one: Rows, other: Rows) -> float:
    """The share of the larger pass that the two do not have in common, each row as often as it is there."""
    (a, of_a), (b, of_b) = (np.unique(rows, return_counts=True) for rows in (one, other))
    _, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return 1.0 - float(np.minimum(of_a[at_a], of_b[at_b]).sum()) / max(len(one), len(other), 1)
