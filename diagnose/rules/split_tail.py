"""Rule `split-tail`: `validation_split` takes the last rows as they lie, and the labels are in an order, so validation
has other labels than training (keras.io, `Model.fit`: "the last samples … before shuffling")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile.model import BatchRef, NDArray
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import leaves_of

NAME = "split-tail"

DRAWS: Final = 9_999
"""Random splits of the same sizes that the split is compared with: it fails where none of them comes as far."""

FAR: Final = 0.1
"""Total variation distance below which a difference is not worth a finding, however sure it is."""

MOST_CLASSES: Final = 50
BINS: Final = 10
_SHOWN: Final = 10

NOT_GIVEN = Text("split-tail.not-given", "fit was not given a validation_split.")
NO_EPOCH = Text("split-tail.no-epoch", "No epoch with validation was finished.")
ENDS_EARLY = Text(
    "split-tail.ends-early", "steps_per_epoch or validation_steps end passes early: not all labels are known."
)
NOT_RECORDED = Text("split-tail.not-recorded", "Validation batches were not recorded.")
NOT_KNOWN = Text("split-tail.not-known", "The labels are not known: {reason}")
NO_LABELS = Text("split-tail.no-labels", "There are no labels that can be compared.")
OTHER_ROWS = Text("split-tail.other-rows", "The validation rows are not those of validation_split.")
ALIKE = Text(
    "split-tail.alike",
    "The labels of the last {held} rows, held out by validation_split={share:g}, are spread like those of the {kept} "
    "training rows (total variation distance {distance:.2f}; {as_far:,} of {draws:,} random splits are as far apart).",
)
_FAILED = "validation_split={share:g} holds out the last {held} rows as they lie: "
_FAR = (
    " The labels are in an order: none of {draws:,} random splits is as far apart (total variation distance "
    "{distance:.2f})."
)
UNSEEN = Text(
    "split-tail.unseen",
    f"{_FAILED}{{rows:given({{rows}}|all)}} of them have labels that no training row has ({{labels:list}}"
    f"{{more:given( and {{more}} more)}}).{_FAR}",
)
CONTRAST = Text(
    "split-tail.contrast",
    f"{_FAILED}{{label}} is {{in_validation:.0%}} of them and {{in_training:.0%}} of the training rows.{_FAR}",
)
LABEL = Text("split-tail.label", "label {value:g}")
RANGE = Text("split-tail.range", "a label in [{low:.4g}, {high:.4g})")
ADVICE = Text(
    "split-tail.advice",
    """\
Shuffle rows and labels together before fit takes the last ones away, or split by hand:

{code:python}

Where the order is meant (a forecast of later rows), keep it: then `val_…` answers for the later rows alone.
""",
)
CODE = """\
order = np.random.default_rng(0).permutation(len(x))
x, y = x[order], y[order]
model.fit(x, y, validation_split=0.2, epochs=...)"""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Labels:
    """One output's labels as numbers, each of `groups` a class or a range: counts in training and in validation."""

    groups: list[Said]
    training: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]

    @property
    def distance(self) -> float:
        return float(_distance(self.training, self.validation))


def check(facts: Facts) -> Finding:
    """Fails where the labels of the validation rows are further from those of training than in any of `DRAWS` random
    splits."""
    arguments = facts.trace.header.fit.arguments
    share = arguments.validation_split
    if not share:
        return not_applicable(NAME, NOT_GIVEN())
    if not facts.epochs or not facts.trace.evaluations:
        return not_applicable(NAME, NO_EPOCH())
    if arguments.steps_per_epoch or arguments.validation_steps:
        return not_applicable(NAME, ENDS_EARLY())
    evaluation = facts.trace.evaluations[0]
    if evaluation.batches is None:
        return not_applicable(NAME, NOT_RECORDED())
    try:
        training = _columns(facts.trace, [s.batch for s in facts.trace.index.steps_of(facts.epochs[0].epoch)])
        validation = _columns(facts.trace, facts.trace.batches(evaluation.batches))
    except ReplayError as error:
        return not_applicable(NAME, NOT_KNOWN(reason=str(error)))
    pairs = [(a, b) for a, b in zip(training, validation, strict=False) if a is not None and b is not None]
    if not pairs:
        return not_applicable(NAME, NO_LABELS())
    kept, held = len(pairs[0][0]), len(pairs[0][1])
    if kept != math.floor((kept + held) * (1.0 - float(share))):
        # As Keras computes it; with both given, validation_data is what Keras uses.
        return not_applicable(NAME, OTHER_ROWS())
    labels = max((_grouped(a, b) for a, b in pairs), key=lambda x: x.distance)
    return _judge(labels, float(share))


def _judge(labels: _Labels, share: float) -> Finding:
    held, kept = int(labels.validation.sum()), int(labels.training.sum())
    as_far = _draws_as_far(labels)
    unseen = [n for n, a, b in zip(labels.groups, labels.training, labels.validation, strict=True) if b and not a]
    missing = [n for n, a, b in zip(labels.groups, labels.training, labels.validation, strict=True) if a and not b]
    evidence: dict[str, Any] = {
        "validation_split": share,
        "training_rows": kept,
        "validation_rows": held,
        "labels": labels.groups,
        "training_counts": labels.training.tolist(),
        "validation_counts": labels.validation.tolist(),
        "only_in_validation": unseen,
        "only_in_training": missing,
        "total_variation_distance": labels.distance,
        "random_splits_compared": DRAWS,
        "random_splits_as_far": as_far,
    }
    said = {"held": held, "share": share, "distance": labels.distance, "draws": DRAWS}
    if as_far or labels.distance < FAR:
        return Finding(NAME, "passed", ALIKE(**said, kept=kept, as_far=as_far), evidence, "")
    return Finding(NAME, "failed", _contrast(labels, unseen, said), evidence, ADVICE(code=CODE))


def _contrast(labels: _Labels, unseen: Sequence[Said], said: dict[str, Any]) -> Said:
    """The plainest difference in words."""
    training, validation = labels.training, labels.validation
    if unseen:
        rows = int(sum(b for n, b in zip(labels.groups, validation, strict=True) if n in set(unseen)))
        return UNSEEN(
            **said,
            rows=None if rows == validation.sum() else rows,
            labels=unseen[:_SHOWN],
            more=len(unseen) - _SHOWN if len(unseen) > _SHOWN else None,
        )
    shares = [
        (float(b / validation.sum()), float(a / training.sum())) for a, b in zip(training, validation, strict=True)
    ]
    i = int(np.argmax([b - a for b, a in shares]))
    return CONTRAST(**said, label=labels.groups[i], in_validation=shares[i][0], in_training=shares[i][1])


def _draws_as_far(labels: _Labels) -> int:
    """How many of `DRAWS` splits of the same rows at random have at least this distance."""
    pooled = labels.training + labels.validation
    held = int(labels.validation.sum())
    rng = np.random.default_rng(0)
    count, done = 0, 0
    while done < DRAWS:
        size = min(1000, DRAWS - done)
        drawn = rng.multivariate_hypergeometric(pooled, held, size=size, method="marginals")
        count += int((_distance(pooled - drawn, drawn) >= labels.distance - 1e-12).sum())
        done += size
    return count


def _distance(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Any:
    """Total variation distance of two distributions given as counts (last axis)."""
    return 0.5 * np.abs(a / a.sum(axis=-1, keepdims=True) - b / b.sum(axis=-1, keepdims=True)).sum(axis=-1)


# ── labels ──


def _columns(trace: Trace, refs: Sequence[BatchRef]) -> list[NDArray | None]:
    """The labels of all rows of these batches, per output; None for an output whose labels are not one per row."""
    parts = [leaves_of(trace.batch(ref).y) for ref in refs]
    if not parts or any(len(p) != len(parts[0]) for p in parts):
        return []
    return [_one_per_row([part[i] for part in parts]) for i in range(len(parts[0]))]


def _one_per_row(arrays: Sequence[Any]) -> NDArray | None:
    """Labels of shape (n,), float64, or with one-hot rows (n, classes) their class as int64. None for others."""
    if any(not isinstance(a, np.ndarray) or a.ndim not in (1, 2) for a in arrays):
        return None
    if len({a.shape[1:] for a in arrays}) != 1:
        return None
    labels = np.concatenate(arrays)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
        return labels.argmax(axis=1) if one_hot else None
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels.astype(np.float64)).all():
        return None
    return labels.astype(np.float64)


def _grouped(training: NDArray, validation: NDArray) -> _Labels:
    """Few whole numbers are classes; anything else falls into ranges with equal shares of all rows."""
    pooled = np.concatenate([training, validation])
    values = np.unique(pooled)
    if len(values) <= MOST_CLASSES and bool((values == np.round(values)).all()):
        groups = [LABEL(value=value) for value in values.tolist()]
        return _Labels(groups, _counts(training, values), _counts(validation, values))
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, BINS + 1)[1:-1]))
    bounds = [-math.inf, *edges.tolist(), math.inf]
    groups = [RANGE(low=a, high=b) for a, b in pairwise(bounds)]
    counts = [
        np.bincount(np.searchsorted(edges, part, side="right"), minlength=len(groups))
        for part in (training, validation)
    ]
    return _Labels(groups, counts[0].astype(np.int64), counts[1].astype(np.int64))


def _counts(labels: NDArray, values: NDArray) -> npt.NDArray[np.int64]:
    return np.bincount(np.searchsorted(values, labels), minlength=len(values)).astype(np.int64)
