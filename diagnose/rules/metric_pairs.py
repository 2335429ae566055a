"""Which labels and outputs a metric of Keras takes without an error and cannot measure. Each pair was read in Keras
(keras/src/metrics/accuracy_metrics.py, 3.15.1) and is held by a test that runs Keras itself on random predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from diagnose.result.texts import Said, Text
from diagnose.rules.common import MATERIAL
from diagnose.rules.labels import not_one_class, one_hot
from diagnose.tracefile.model import NDArray

HARDLY_EVER: Final = 0.1
"""Share of outputs up to which fractions may be equal to their label, where they round to it."""

EXACTLY = Text(
    "metric-mismatch.exactly",
    "it counts outputs that are equal to their label digit for digit, and the model's outputs are fractions, which "
    "hardly ever are.{rows:given( With the weights after fit, {rows:.1%} of the rows fit trained on are right by "
    "{units:select(1=a threshold of 0.5|other=their largest output)}.)}",
)
ONE_UNIT = Text(
    "metric-mismatch.one-unit",
    "with one output unit and one column of labels, both sides are class 0, and it is 1 whatever is predicted.",
)
ONE_COLUMN = Text(
    "metric-mismatch.one-column",
    "it takes the position of the largest entry of each label, and the labels have one column, so each counts as class "
    "0. It is the share of rows predicted as class 0, whatever their labels.",
)
NO_CLASS_AXIS = Text(
    "metric-mismatch.no-class-axis",
    "the labels are whole numbers without a class axis, so it takes the place of the batch's largest label for the "
    "class of every row. It compares predictions with a position in the batch, not with labels.",
)
NOT_ONE_CLASS = Text(
    "metric-mismatch.not-one-class",
    "it asks whether the largest output of a row is where its largest label is, and {share:.0%} of the rows "
    "{several:given(have several labels that are 1, or none|have labels that are quantities, not shares of classes)}.",
)
ALL_IN_TOP = Text(
    "metric-mismatch.all-in-top",
    "the output has {units} classes and k is {k}, so every class is among the top {k}: it is 1.",
)
ALWAYS_FIRST = Text(
    "metric-mismatch.always-first",
    "the output has one unit, so the predicted class is always 0: it is the share of labels that are 0, whatever the "
    "model predicts.",
)
ROUNDED = Text(
    "metric-mismatch.rounded",
    "it rounds predictions to 0 or 1 and counts those equal to the label, and {some:given(only {possible:.1%} of the "
    "labels are|no label is)} 0 or 1, so it cannot exceed {possible:number} whatever the model predicts.",
)
USE = Text(
    "metric-mismatch.use",
    "For {what:select(binary=one output unit and labels 0 and 1|quantities=labels that are quantities|several=labels "
    "of which several may be 1|classes=labels that are class numbers|one-hot=one-hot labels)}:\n\n{code:python}\n\n"
    "The training itself is not touched by this: only the metric is.\n",
)
SIGNS = Text(
    "metric-mismatch.signs",
    "`BinaryAccuracy` wants labels 0 and 1. With labels -1 and 1, count equal signs:\n\n{code:python}\n",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One metric beside one output: `units` is the output's last size (None: unknown)."""

    name: str
    units: int | None
    k: int
    labels: list[NDArray]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.labels[0].shape[1:]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """`why` in words, what to use instead, and per batch the lowest and highest value whatever is predicted."""

    why: Said
    instead: Said
    bounds: list[tuple[float, float]]


def _categorical(case: Case) -> Mismatch | None:
    """argmax over the last axis of labels that have no class axis."""
    one_unit = case.units == 1
    if case.row_shape == (1,):
        if one_unit:
            return Mismatch(ONE_UNIT(), _for_one_unit(case), [(1.0, 1.0)] * len(case.labels))
        return Mismatch(ONE_COLUMN(), _for_classes(case), [(0.0, 1.0)] * len(case.labels))
    if case.row_shape == () and case.units is not None:
        places = [int(labels.argmax()) for labels in case.labels]
        bounds = [_reach(place, case.units) for place in places]
        instead = _for_one_unit(case) if case.units == 1 else _for_classes(case)
        return Mismatch(NO_CLASS_AXIS(), instead, bounds)
    if case.units is not None and case.units > 1 and case.row_shape == (case.units,):
        share, several = not_one_class(case.labels), _number_of(case.labels, (0, 1))
        instead = use("BinaryAccuracy", "several") if several else use("MeanAbsoluteError", "quantities")
        if share >= MATERIAL:
            return Mismatch(NOT_ONE_CLASS(share=share, several=several), instead, [(0.0, 1.0)] * len(case.labels))
    return None


def _reach(place: int, units: int) -> tuple[float, float]:
    """What is left to predictions where every row's class is said to be `place`."""
    if units == 1:
        return (1.0, 1.0) if place == 0 else (0.0, 0.0)
    return (0.0, 1.0) if place < units else (0.0, 0.0)


def _top_k(case: Case) -> Mismatch | None:
    """More guesses than classes."""
    if case.units is None or case.units > case.k:
        return None
    return Mismatch(ALL_IN_TOP(units=case.units, k=case.k), _for_classes(case), [(1.0, 1.0)] * len(case.labels))


def _sparse_top_k(case: Case) -> Mismatch | None:
    """The same for class numbers; backends differ in what they make of numbers that are no class."""
    inside = case.units is not None and all(bool(((y >= 0) & (y < case.units)).all()) for y in case.labels)
    return _top_k(case) if inside else None


def _sparse(case: Case) -> Mismatch | None:
    """argmax over the one unit of an output."""
    if case.units != 1 or case.row_shape not in ((), (1,)):
        return None
    zeros = [float((labels == 0).mean()) for labels in case.labels]
    return Mismatch(ALWAYS_FIRST(), _for_one_unit(case), [(share, share) for share in zeros])


def _binary(case: Case) -> Mismatch | None:
    """Predictions become 0 or 1, and labels are other numbers."""
    if case.units is None or case.row_shape not in ((case.units,), () if case.units == 1 else (1, 1)):
        return None
    rest = [float(np.isin(labels.astype(np.float64), (0.0, 1.0)).mean()) for labels in case.labels]
    sizes = [labels.size for labels in case.labels]
    possible = sum(r * n for r, n in zip(rest, sizes, strict=True)) / sum(sizes)
    if 1.0 - possible < MATERIAL:
        return None
    why = ROUNDED(some=possible != 0, possible=possible)
    return Mismatch(why, _for_one_unit(case), [(0.0, share) for share in rest])


def _exactly(case: Case) -> Mismatch | None:
    """Outputs are compared as they are, without a threshold or a largest entry. Where the model gives whole numbers
    that may be right, and the values say so."""
    if case.units is None or case.row_shape not in ((case.units,), () if case.units == 1 else (case.units,)):
        return None
    if case.units == 1:
        instead = _for_one_unit(case)
    elif one_hot(case.labels, case.units):
        instead = use("CategoricalAccuracy", "one-hot")
    else:
        instead = use("BinaryAccuracy", "several")
    return Mismatch(EXACTLY(rows=None, units="other"), instead, [(0.0, HARDLY_EVER)] * len(case.labels))


PAIRS: Final[dict[str, Callable[[Case], Mismatch | None]]] = {
    "categorical_accuracy": _categorical,
    "top_k_categorical_accuracy": _top_k,
    "sparse_top_k_categorical_accuracy": _sparse_top_k,
    "sparse_categorical_accuracy": _sparse,
    "binary_accuracy": _binary,
    "accuracy": _exactly,
}
"""Functions of Keras that accept what they cannot measure, without an error."""


def _number_of(labels: Sequence[NDArray], allowed: Sequence[float]) -> bool:
    """Whether all labels are among these numbers."""
    return all(bool(np.isin(part.astype(np.float64), allowed).all()) for part in labels)


def _for_one_unit(case: Case) -> Said:
    """What measures an output of one number, by the labels."""
    if _number_of(case.labels, (0, 1)):
        return use("BinaryAccuracy", "binary")
    if _number_of(case.labels, (-1, 1)):
        return SIGNS(code=CODE_SIGNS)
    return use("MeanAbsoluteError", "quantities")


def _for_classes(case: Case) -> Said:
    if case.row_shape in ((), (1,)):
        return use("SparseCategoricalAccuracy", "classes")
    return use("CategoricalAccuracy", "one-hot")


def use(metric: str, what: str) -> Said:
    return USE(what=what, code=f"model.compile(optimizer=..., loss=..., metrics=[keras.metrics.{metric}()])")


CODE_SIGNS: Final = """\
def sign_accuracy(y_true, y_pred):
    return keras.ops.cast(keras.ops.equal(y_true > 0, y_pred > 0), "float32")

model.compile(optimizer=..., loss="hinge", metrics=[sign_accuracy])"""
