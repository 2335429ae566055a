"""Rule `trained-on-validation`: validation went over rows that were trained on, in this fit or in an earlier one whose
weights it goes on from (two splits with other seeds, folds with one model, copies made before the split)."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules import reshuffled_split
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.passes import Rows, distinct, training_passes, validation_passes
from diagnose.tracefile.events import TrainedBefore
from diagnose.tracefile.model import BatchRef, Evaluation
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import leaves_of

NAME = "trained-on-validation"

FEWEST_ROWS: Final = 3
SMALLEST_SHARE: Final = 0.02
"""Fewer rows, or a smaller share, do not change what validation says by more than its resolution."""

_DEVIATIONS: Final = 4.0
_TRIED_ROWS: Final = 512
_TRIED_COLUMNS: Final = 4096
_FEW_VALUES: Final = 0.3
"""Share of distinct rows in the training data below which its rows are of few possible values."""

NO_VALIDATION = Text("trained-on-validation.no-validation", "There was no validation.")
NOT_KNOWN = Text("trained-on-validation.not-known", "The rows of training and validation are not known: {reason}.")
NO_STEPS = Text("trained-on-validation.no-steps", "no step was recorded")
TRAINING_DATA = Text(
    "trained-on-validation.training-data",
    "The validation data is the training data, all {rows} rows of it: its val_ values say how well this is fitted, and "
    "nothing about unseen rows.",
)
DRAWN_ANEW = Text(
    "trained-on-validation.drawn-anew",
    "The split is drawn anew each epoch, so validation rows were trained on: see reshuffled-split.",
)
NONE = Text(
    "trained-on-validation.none", "No row of validation was trained on, as far as equal rows tell ({rows} rows)."
)
FEW = Text(
    "trained-on-validation.few",
    "{seen} of {rows} validation rows are equal to rows that were trained on: too few to change what validation says.",
)
CHANCE = Text(
    "trained-on-validation.chance",
    "{seen} of {rows} validation rows are equal to rows that were trained on. So many are equal by chance: within the "
    "training data, {own:.0%} of the rows have an equal one.",
)
FAILED = Text(
    "trained-on-validation.failed",
    "{seen} of the {rows} validation rows ({share:.0%}) had been trained on"
    "{earlier:given( in an earlier fit, whose weights this one goes on from|)}, so the val_ values of epoch {epoch} "
    "are not those of unseen rows.",
)
OF_CALL = Text(
    "trained-on-validation.of-call",
    "{file}:{line}: {seen} of the {rows} rows that {call} went over ({share:.0%}) had been trained on"
    "{earlier:given( in an earlier fit, whose weights this one goes on from|: the rows of training are drawn anew in "
    "each epoch)}{metric:given(, so {metric} {value:number} is not that of unseen rows)}.",
)
ADVICE = Text(
    "trained-on-validation.advice",
    "{what:select(earlier=Make a new model for each fold or split; what an earlier fit trained on is no validation "
    "data for a model that goes on from it|images=Make both parts in one call, or with one seed, by which the loader "
    "also shuffles before it splits|datasets=Split rows that are in one fixed order|"
    "copies=Rows have copies in the data. Take "
    "the copies out before the split, and oversample or augment the training part only|arrays=Split once, into "
    "rows that are trained on and rows that never are)}:\n\n{code:python}\n\nWhat this fit logged as `val_…` says "
    "little about unseen rows; train again with such a split.\n",
)
TESTED = Text(
    "trained-on-validation.tested",
    "{file}:{line}: evaluate went over {rows} rows, of which {seen} ({share:.0%}) had been trained on, so its values "
    "are not those of unseen rows.",
)
ADVICE_TEST = Text(
    "trained-on-validation.advice-test",
    "Split once, into rows that are trained on and rows that never are, and evaluate over these:\n\n{code:python}\n",
)
CODE_TEST = """\
order = np.random.default_rng(0).permutation(len(x))
held, train = order[: len(x) // 5], order[len(x) // 5 :]
model.fit(x[train], y[train], epochs=...)
model.evaluate(x[held], y[held])"""
CODE_EARLIER = """\
for train, held in folds:
    model = build_model()
    model.fit(x[train], y[train], epochs=..., validation_data=(x[held], y[held]))"""
CODE_IMAGES = """\
training, validation = keras.utils.image_dataset_from_directory(
    directory, validation_split=0.2, subset="both", seed=0
)
model.fit(training, epochs=..., validation_data=validation)"""
CODE_COPIES = """\
rows = np.concatenate([x.reshape(len(x), -1), y.reshape(len(y), -1)], axis=1)
_, first = np.unique(rows, axis=0, return_index=True)
x, y = x[first], y[first]"""
CODE_ARRAYS = """\
order = np.random.default_rng(0).permutation(len(x))
held, train = order[: len(x) // 5], order[len(x) // 5 :]
model.fit(x[train], y[train], epochs=..., validation_data=(x[held], y[held]))"""


def check(facts: Facts) -> Finding:
    """Fails where more validation rows were trained on than are equal by chance, and the validation data is not the
    training data itself."""
    trace, of_call = facts.trace, _of_calls(facts)
    if of_call is not None:
        return of_call
    if not trace.evaluations:
        known = training_passes(trace)
        tested = None if isinstance(known, str) or not any(map(len, known)) else _tested(facts, known)
        return tested or not_applicable(NAME, NO_VALIDATION())
    training, validation = training_passes(trace), validation_passes(trace)
    for found in (training, validation):
        if isinstance(found, str):
            return not_applicable(NAME, NOT_KNOWN(reason=found))
    assert not isinstance(training, str) and not isinstance(validation, str)
    if not any(map(len, training)):
        return not_applicable(NAME, NOT_KNOWN(reason=NO_STEPS()))
    evaluation, rows, seen = _most(trace, validation)
    drawn = reshuffled_split.check(facts) if seen else None
    if drawn is not None and drawn.status == "failed":
        return not_applicable(NAME, DRAWN_ANEW(), {"rows_on_both_sides": drawn.evidence["rows_on_both_sides"]})
    used = distinct(training)
    held = np.unique(rows)
    if trace.header.fit.arguments.validation_is_training or _same_data(rows, max(training, key=len)):
        return not_applicable(NAME, TRAINING_DATA(rows=len(rows)), {"validation_rows": len(rows)})
    counted: dict[str, Any] = {
        "epoch": evaluation.epoch,
        "validation_rows": len(rows),
        "validation_rows_trained_on_before": seen,
    }
    before = max(trace.events_of(TrainedBefore), key=lambda e: e.detail.rows, default=None)
    own = _own_share(training)
    if before is not None and before.detail.rows > seen:
        asked = validation[before.detail.evaluation] if before.detail.evaluation < len(validation) else rows
        earlier = min(before.detail.rows, len(asked))
        scale = max(1.0, before.detail.known / len(used))
        chance = _judged(len(asked), earlier, min(1.0, own * scale), copies=False)
        evidence = {
            **counted,
            "epoch": trace.evaluations[min(before.detail.evaluation, len(validation) - 1)].epoch,
            "validation_rows": len(asked),
            "validation_rows_trained_on_in_earlier_fits": earlier,
        }
        if chance is None:
            return _failed(len(asked), earlier, evidence, "earlier")
    evidence = {**counted, "training_rows": len(used), "equal_rows_within_training": own}
    copies = own > 0 and _are_copies(trace, training, np.intersect1d(held, used))
    reason = _judged(len(rows), seen, own, copies=copies)
    if reason is not None:
        return Finding(NAME, "passed", reason, evidence, "")
    arrays = trace.header.fit.arguments.data == "ArrayDataAdapter"
    what = "copies" if copies else "arrays" if arrays else "images" if _images(trace) else "datasets"
    return _failed(len(rows), seen, evidence, what)


def _tested(facts: Facts, training: list[Rows]) -> Finding | None:
    """Where the script evaluates rows of which a part was trained on, as a test set from another split of the data.
    Whoever evaluates all that was trained on, or that and more, does so knowingly."""
    used, own = len(distinct(training)), _own_share(training)
    for call in facts.calls:
        rows = call.rows
        if call.call != "evaluate" or call.version is None or rows is None or rows.kind != "other":
            continue
        if rows.same >= 0.99 * used or _judged(rows.count, rows.same, own, copies=False) is not None:
            continue
        said = {"file": call.file, "line": call.line, "rows": rows.count}
        title = TESTED(**said, seen=rows.same, share=rows.same / rows.count)
        return Finding(NAME, "failed", title, {**said, "training_rows": rows.same}, ADVICE_TEST(code=CODE_TEST))
    return None


def _of_calls(facts: Facts) -> Finding | None:
    """The call after the fit, over rows that are not its validation, of which most had been trained on although they
    look as if they were held out: an earlier fit had them, or the split draws them anew."""
    training = training_passes(facts.trace)
    own = 0.0 if isinstance(training, str) or not any(map(len, training)) else _own_share(training)
    found = []
    for call in facts.calls:
        rows = call.rows
        if rows is None or call.epoch is not None or not call.returned or rows.kind not in ("other", "training"):
            continue
        seen = rows.before if rows.kind == "other" else rows.count if rows.redrawn else 0
        if _judged(rows.count, seen, own, copies=False) is None:
            found.append((seen / rows.count, seen, call, rows))
    if not found:
        return None
    share, seen, call, rows = max(found, key=lambda x: x[0])
    earlier = rows.kind == "other" or None
    evidence = {"file": call.file, "line": call.line, "rows": rows.count, "rows_trained_on_before": seen}
    title = OF_CALL(
        file=call.file,
        line=call.line,
        seen=seen,
        rows=rows.count,
        call=call.call,
        share=share,
        earlier=earlier,
        metric=call.metric or None,
        value=call.value,
    )
    what = "earlier" if earlier else "arrays"
    code = CODE_EARLIER if earlier else CODE_ARRAYS
    return Finding(NAME, "failed", title, evidence, ADVICE(what=what, code=code))


def _failed(rows: int, seen: int, evidence: dict[str, Any], what: str) -> Finding:
    codes = {
        "earlier": CODE_EARLIER,
        "copies": CODE_COPIES,
        "arrays": CODE_ARRAYS,
        "images": CODE_IMAGES,
        "datasets": reshuffled_split.CODE,
    }
    earlier = what == "earlier" or None
    title = FAILED(seen=seen, rows=rows, share=seen / rows, earlier=earlier, epoch=evidence["epoch"])
    return Finding(NAME, "failed", title, evidence, ADVICE(what=what, code=codes[what]))


def _images(trace: Trace) -> bool:
    """Whether the input is one array of rows with height, width and channels."""
    place = next((s.batch.signature for s in trace.steps), None)
    leaves = () if place is None else trace.signatures[place].leaves
    return bool(leaves) and len(leaves[0].shape) == 3


def _most(trace: Trace, validation: list[Rows]) -> tuple[Evaluation, Rows, int]:
    """The pass with the largest share of rows trained on before it, the last of such; its rows; how many they are."""
    largest = max((int(rows.max(initial=-1)) for rows in validation), default=-1)
    steps = trace.steps
    largest = max([largest, *(int(s.batch.row_ids.max(initial=-1)) for s in steps)])
    trained, done = np.zeros(largest + 2, bool), 0
    found: tuple[float, Evaluation, Rows, int] | None = None
    for evaluation, rows in zip(trace.evaluations, validation, strict=True):
        while done < len(steps) and steps[done].step < evaluation.after_step:
            trained[steps[done].batch.row_ids] = True
            done += 1
        seen = int(trained[rows].sum())
        share = seen / max(len(rows), 1)
        if found is None or share >= found[0]:
            found = (share, evaluation, rows, seen)
    assert found is not None
    return found[1:]


def _same_data(one: Rows, other: Rows) -> bool:
    """Whether both passes hold the same rows, each as often, or all of them so many times as often."""
    (a, of_a), (b, of_b) = (np.unique(rows, return_counts=True) for rows in (one, other))
    return np.array_equal(a, b) and bool((of_a * of_b.min() == of_b * of_a.min()).all())


def _own_share(training: list[Rows]) -> float:
    """The share of rows in an epoch that have an equal one there. Data that an epoch goes through several times has
    every row several times."""
    rows = max(training, key=len)
    _, counts = np.unique(rows, return_counts=True)
    return float(counts[counts > counts.min()].sum()) / len(rows)


def _judged(rows: int, seen: int, own: float, *, copies: bool) -> Said | None:
    """Why rows trained on are no finding; None where they are one. Rows drawn alike meet an equal row in the training
    data as often as training rows meet one among themselves."""
    if not seen:
        return NONE(rows=rows)
    if seen < FEWEST_ROWS or seen < SMALLEST_SHARE * rows:
        return FEW(seen=seen, rows=rows)
    chance = rows * own + _DEVIATIONS * math.sqrt(rows * own * (1.0 - own))
    return None if copies or seen > chance else CHANCE(seen=seen, rows=rows, own=own)


def _are_copies(trace: Trace, training: list[Rows], shared: Rows) -> bool:
    """Whether equal rows are copies of one another, not rows of few possible values: half of a row is then enough to
    tell it from all others. Rows of which no contents are kept are taken for the latter."""
    rows = max(training, key=len)
    if len(np.unique(rows)) < _FEW_VALUES * len(rows) or not len(shared):
        return False
    tried = np.union1d(shared[: _TRIED_ROWS // 2], np.unique(rows)[: _TRIED_ROWS // 2])
    try:
        columns = _columns(trace, tried)
    except ReplayError:
        return False
    if columns is None or columns.shape[1] < 2 or any(_numbered(column) for column in columns.T):
        return False
    return all(len(np.unique(half, axis=0)) >= 0.99 * len(tried) for half in (columns[:, ::2], columns[:, 1::2]))


def _numbered(column: npt.NDArray[Any]) -> bool:
    """Whether one column of whole numbers, out of not many more than there are rows, tells the rows apart."""
    spread = float(np.ptp(column))
    return spread <= 10 * len(column) <= 11 * len(np.unique(column)) and bool((column == np.round(column)).all())


def _columns(trace: Trace, rows: Rows) -> npt.NDArray[Any] | None:
    """The inputs of these rows, a row each; None where they are no numbers."""
    signature = next((s.batch.signature for s in trace.steps), None)
    batch = trace.batch(BatchRef(signature, rows))
    leaves = [np.asarray(leaf) for leaf in leaves_of(batch.x)]
    if not leaves or any(leaf.dtype.kind not in "biuf" for leaf in leaves):
        return None
    flat = [leaf.reshape(len(rows), -1)[:, :_TRIED_COLUMNS].astype(np.float64) for leaf in leaves]
    return np.concatenate(flat, axis=1)
