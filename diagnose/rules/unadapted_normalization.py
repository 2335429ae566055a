"""Rule `unadapted-normalization`: a `Normalization` layer without a mean and variance lets its inputs through as they
are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import named
from diagnose.tracefile.about import Layer, Variable
from diagnose.tracefile.digest import array_digest, numpy_dtype
from diagnose.tracefile.model import NDArray, State

NAME = "unadapted-normalization"

ROWS = 10_000
"""Rows read to say how the inputs are distributed."""

CLOSE = 0.1
"""Inputs whose every feature has a mean this close to 0 and a standard deviation this close to 1 need no layer."""

NONE = Text("unadapted-normalization.none", "The model has no Normalization layer.")
NOT_SAID = Text("unadapted-normalization.not-said", "The trace does not say what the Normalization layer holds.")
NOT_RECORDED = Text("unadapted-normalization.not-recorded", "The model's variables at the beginning were not recorded.")
ADAPTED = Text("unadapted-normalization.adapted", "{layers} has a mean and a variance.")
IDLE = Text("unadapted-normalization.idle", "{layers} does nothing: mean 0 and variance 1, as before adapt().")
NOT_NEEDED = Text(
    "unadapted-normalization.not-needed", "{layers} does nothing, but the rows have mean 0 and variance 1 already."
)
FAILED = Text(
    "unadapted-normalization.failed",
    "{layers} does nothing (mean 0 and variance 1, as before adapt()): what comes in goes out unchanged. The model's "
    "inputs run from {lowest:number} to {highest:number}.",
)
ADVICE = Text(
    "unadapted-normalization.advice",
    "Adapt the layer to the training inputs before fit (and before weights are loaded):\n\n{code:python}\n",
)
CODE = """\
normalization = keras.layers.Normalization()
normalization.adapt(x)
model = keras.Sequential([keras.Input(x.shape[1:]), normalization, ...])"""


def check(facts: Facts) -> Finding:
    """Fails where such a layer has mean 0 and variance 1 in all that was trained, and the rows are not like that."""
    header = facts.trace.header
    layers = [x for x in header.model.layers if x.class_name == "Normalization" or x.normalization is not None]
    if not layers:
        return not_applicable(NAME, NONE())
    if any(x.normalization is None for x in layers):
        return not_applicable(NAME, NOT_SAID())
    state = facts.trace.version(0) or facts.trace.version(1)
    if state is None:
        return not_applicable(NAME, NOT_RECORDED())
    idle = tuple(x for x in layers if x.normalization == "adapt" and _is_initial(header.variables, state, x))
    evidence: dict[str, Any] = {"layers": [x.name for x in layers], "without_effect": [x.name for x in idle]}
    if not idle:
        return Finding(NAME, "passed", ADAPTED(layers=named(tuple(layers))), evidence, "")
    values = _inputs(facts)
    if values is None:
        return Finding(NAME, "failed", IDLE(layers=named(idle)), evidence, ADVICE(code=CODE))
    evidence |= {"inputs": {"rows": len(values), "mean": float(values.mean()), "std": float(values.std())}}
    if _is_normal(values):
        return Finding(NAME, "passed", NOT_NEEDED(layers=named(idle)), evidence, "")
    title = FAILED(layers=named(idle), lowest=float(values.min()), highest=float(values.max()))
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE))


def _is_initial(variables: Sequence[Variable], state: State, layer: Layer) -> bool:
    """Whether the layer's mean is all 0 and its variance all 1, which is what it is built with (Keras 3.8, 3.15)."""
    makers = {"mean": np.zeros, "variance": np.ones}
    found = {variables[i].path.rpartition("/")[2]: i for i in layer.statistics}
    if not set(makers) <= set(found):
        return False
    for name, make in makers.items():
        i = found[name]
        initial = make(variables[i].shape, numpy_dtype(variables[i].dtype))
        if state.arrays[i] != array_digest(initial):
            return False
    return True


def _inputs(facts: Facts) -> NDArray | None:
    """The numbers fed to the model in the first epoch, features in columns; None where the model has several inputs,
    they are no numbers, or they were not recorded."""
    found: list[NDArray] = []
    for step in facts.trace.steps:
        if step.epoch != facts.trace.steps[0].epoch or sum(map(len, found)) >= ROWS:
            break
        try:
            x = facts.trace.batch(step.batch).x
        except ReplayError:
            return None
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or not x.size:
            return None
        found.append(x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(-1, 1))
    return np.concatenate(found).astype(np.float64) if found else None


def _is_normal(values: NDArray) -> bool:
    close = (np.abs(values.mean(axis=0)) <= CLOSE) & (np.abs(values.std(axis=0) - 1) <= CLOSE)
    return bool(close.all())
