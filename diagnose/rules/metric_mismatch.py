"""Rule `metric-mismatch`: a metric that cannot measure this model, because labels or output are of another form than it
expects (tf#41958)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules import logits
from diagnose.rules.common import MATERIAL, NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.labels import flat_labels, one_hot
from diagnose.rules.metric_pairs import EXACTLY, PAIRS, Case, Mismatch, use
from diagnose.tracefile.about import Metric, Output
from diagnose.tracefile.model import NDArray, Step
from diagnose.tracefile.values import own_values

NAME = "metric-mismatch"

FEW_STEPS: Final = 8
MOST_STEPS: Final = 256
"""Steps whose labels are read, spread evenly over the fit: at first, and where these show a mismatch."""

_CLOSE: Final = 1e-4

NOT_SAID = Text("metric-mismatch.not-said", "The trace does not say which metrics were compiled.")
NONE = Text("metric-mismatch.none", "No metric was compiled that could misread its labels unnoticed.")
FITS = Text("metric-mismatch.fits", "Labels and output have the form that {metrics:list} expects.")
SAME_NAME = Text(
    "metric-mismatch.same-name", "Several metrics are called {metric}: their steps' own values are not told apart."
)
WEIGHTED = Text("metric-mismatch.weighted", "{metric} is weighted; what single labels count for is not checked.")
NO_LABELS = Text("metric-mismatch.no-labels", "The labels {metric} is computed with are not known.")
NO_SIZE = Text("metric-mismatch.no-size", "The size of the output {metric} is for is not declared.")
NOT_KNOWN = Text("metric-mismatch.not-known", "The labels are not known: {reason}")
CHANGING = Text("metric-mismatch.changing", "The labels {metric} is computed with change their form between batches.")
NO_VALUES = Text(
    "metric-mismatch.no-values", "{metric} does not fit its labels, but its value in single steps is not known."
)
NOT_EXPLAINED = Text(
    "metric-mismatch.not-explained", "{metric} takes values that the form of its labels does not explain."
)
FAILED = Text(
    "metric-mismatch.failed",
    "{metric} does not measure this model: {why}{logged:given( It was logged as {logged:number} for epoch {epoch}.)}",
)
CELLS = Text(
    "metric-mismatch.cells",
    "each row has one label of {units} classes, and it counts each of the {units} cells of a row by itself, of which "
    "{easy} are 0. With the weights after fit, {cells:.1%} of the cells are right by it over the rows that fit trained "
    "on, and {rows:.1%} of the rows have their largest output at their label.",
)
NOT_PREDICTED = Text(
    "metric-mismatch.not-predicted",
    "{metric} counts cells of one-hot labels; how many rows are right is not known: {reason}.",
)
NO_PREDICTIONS = Text("metric-mismatch.no-predictions", "the model's predictions were not computed")


def check(facts: Facts) -> Finding:
    """Fails where form and values of the labels show that a metric measures nothing, and every step's own value bears
    it out."""
    described = facts.trace.header.metrics
    if described is None:
        return not_applicable(NAME, NOT_SAID())
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if (told := logits.finding(facts)) is not None:
        return told
    watched = [m for m in described if m.function in PAIRS]
    if not watched:
        return not_applicable(NAME, NONE())
    fitting: list[str] = []
    unclear: list[Said] = []
    names = Counter(m.name for m in described)
    for metric in watched:
        found = _check_metric(facts, metric, names)
        if isinstance(found, Finding) and found.status == "failed":
            return found
        if isinstance(found, Said):
            unclear.append(found)
        else:
            fitting.append(metric.name)
    if not fitting:
        return not_applicable(NAME, unclear[0])
    return Finding(NAME, "passed", FITS(metrics=fitting), {"metrics": fitting}, "")


def _check_metric(facts: Facts, metric: Metric, names: Mapping[str, int]) -> Finding | Said | None:
    """A failed finding, None where the metric fits, or why it could not be checked."""
    name = metric.name
    if names[name] > 1:
        return SAME_NAME(metric=name)
    if metric.weighted and any(s.batch.sample_weight is not None for s in facts.trace.steps):
        return WEIGHTED(metric=name)
    try:
        # Most runs have such a metric and nothing wrong with it: a few batches tell.
        if (few := _case(facts, metric, _spread(facts, FEW_STEPS))) is None:
            return NO_LABELS(metric=name)
        if PAIRS[str(metric.function)](few) is None:
            if metric.function == "binary_accuracy" and one_hot(few.labels, few.units):
                return _by_cells(facts, metric)
            return NO_SIZE(metric=name) if few.units is None else None
        steps = _spread(facts, MOST_STEPS)
        case = _case(facts, metric, steps)
    except ReplayError as error:
        return NOT_KNOWN(reason=str(error))
    mismatch = None if case is None else PAIRS[str(metric.function)](case)
    if case is None or mismatch is None:
        return CHANGING(metric=name)
    # A model's metrics may be made in its first step, which then has no state before it.
    known = {i: v for i, step in enumerate(steps) if (v := own_values(facts.trace, step).get(name)) is not None}
    if not known:
        return NO_VALUES(metric=name)
    inside = [
        mismatch.bounds[i][0] - _CLOSE <= v <= mismatch.bounds[i][1] + _CLOSE
        for i, v in known.items()
        if not math.isnan(v)
    ]
    if not all(inside):
        return NOT_EXPLAINED(metric=name)
    right = facts.measured.rows_right.get(name)
    if metric.function == "accuracy" and right is not None:
        mismatch = replace(mismatch, why=EXACTLY(rows=right["rows"], units="1" if case.units == 1 else "other"))
    return _failed(facts, case, mismatch, list(known.values()))


def _by_cells(facts: Facts, metric: Metric) -> Finding | Said | None:
    """Of a metric that counts the cells of one-hot labels: whether that is far from the share of rows that are right.
    Form and values are what it expects, so nothing but predictions shows it."""
    case = _case(facts, metric, _spread(facts, MOST_STEPS))
    if case is None or not one_hot(case.labels, case.units):
        return None
    found = facts.measured.rows_right.get(metric.name)
    if found is None:
        return NOT_PREDICTED(metric=metric.name, reason=facts.measured.no_replay or NO_PREDICTIONS())
    rows, cells = found["rows"], found["cells"]
    if not cells - rows >= MATERIAL:
        return None
    assert case.units is not None
    logged = facts.epochs[-1].logs.get(metric.name)
    evidence = {
        "metric": metric.name,
        "label_shape": [None, *case.row_shape],
        "label_dtype": case.labels[0].dtype.name,
        "output_units": case.units,
        "logged": logged,
        "cells_right": cells,
        "rows_right": rows,
    }
    why = CELLS(units=case.units, easy=case.units - 1, cells=cells, rows=rows)
    value = float(logged) if isinstance(logged, (int, float)) else None
    title = FAILED(metric=metric.name, why=why, logged=value, epoch=facts.epochs[-1].epoch)
    return Finding(NAME, "failed", title, evidence, use("CategoricalAccuracy", "one-hot"), metric.name, cells - rows)


def _failed(facts: Facts, case: Case, mismatch: Mismatch, values: list[float]) -> Finding:
    logged = facts.epochs[-1].logs.get(case.name)
    constant = all(low == high for low, high in mismatch.bounds)
    evidence: dict[str, Any] = {
        "metric": case.name,
        "label_shape": [None, *case.row_shape],
        "label_dtype": case.labels[0].dtype.name,
        "output_units": case.units,
        "logged": logged,
        "steps_checked": len(values),
        "lowest_step_value": min(values),
        "highest_step_value": max(values),
        "whatever_is_predicted": constant,
    }
    if constant:
        evidence["predicted_values"] = sorted({low for low, _ in mismatch.bounds})[:10]
    value = float(logged) if isinstance(logged, (int, float)) else None
    title = FAILED(metric=case.name, why=mismatch.why, logged=value, epoch=facts.epochs[-1].epoch)
    return Finding(NAME, "failed", title, evidence, mismatch.instead, case.name)


# ── labels ──


def _spread(facts: Facts, most: int) -> Sequence[Step]:
    steps = facts.trace.steps
    return steps[:: max(1, math.ceil(len(steps) / most))]


def _case(facts: Facts, metric: Metric, steps: Sequence[Step]) -> Case | None:
    """The metric beside the labels of these steps; None where these are not arrays of one form."""
    output = metric.output or 0
    labels = [_labels(facts, step, output) for step in steps]
    known = [a for a in labels if a is not None]
    if not known or len(known) < len(labels) or len({a.shape[1:] for a in known}) > 1:
        return None
    k = metric.settings.get("k", 5)
    return Case(metric.name, _units(facts, output), k if isinstance(k, int) else 5, known)


def _labels(facts: Facts, step: Step, output: int) -> NDArray | None:
    """One output's labels of a step."""
    leaves = list(flat_labels(facts.trace.batch(step.batch).y, _names(facts)))
    found = leaves[output] if output < len(leaves) else None
    return found if isinstance(found, np.ndarray) and found.ndim and found.size else None


def _outputs(facts: Facts) -> Sequence[Output]:
    return facts.trace.header.model.outputs or ()


def _names(facts: Facts) -> list[str]:
    return [str(o.name) for o in _outputs(facts)]


def _units(facts: Facts, output: int) -> int | None:
    """The last size of an output; None where it is not declared, or where an output has other axes than rows and
    units."""
    found = _outputs(facts)
    shape = found[output].shape if output < len(found) else None
    return shape[1] if shape is not None and len(shape) == 2 and isinstance(shape[1], int) else None
