"""Rule `frozen-after-compile`: layers that say `trainable=False` are trained all the same, because the train step was
made before they were frozen (keras PR#9965)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import named
from diagnose.tracefile.about import Layer, Variable

NAME = "frozen-after-compile"

NOT_SAID = Text(
    "frozen-after-compile.not-said", "The trace does not say which layers were frozen; it is from an older version."
)
NONE = Text("frozen-after-compile.none", "No layer with weights was frozen.")
OWN_STEP = Text(
    "frozen-after-compile.own-step",
    "The model has its own train_step, which may set the weights of frozen layers on purpose.",
)
NO_STEP = Text("frozen-after-compile.no-step", "No step was recorded with the weights before and after it.")
UNCHANGED = Text(
    "frozen-after-compile.unchanged",
    "{count:plural(1 layer is frozen, and the train steps changed none of its weights|# layers are frozen, and the "
    "train steps changed none of their weights)}.",
)
FAILED = Text(
    "frozen-after-compile.failed",
    "{layers}: trainable=False, but {most} of {steps} train steps in the first epoch changed the "
    "{what:select(weights=weights|averages=moving averages|both=weights and moving averages)}. The step in use was "
    "made before the freezing.",
)
ADVICE = Text(
    "frozen-after-compile.advice",
    """\
`trainable` is read when the train step is made, and only `compile` makes a new one. Compile again after freezing and
before the next fit:

{code:python}

The weights that changed stay changed: load or train them anew if they were to be kept.
""",
)
CODE = """\
model.compile(optimizer=..., loss=..., metrics=[...])
model.fit(x, y, epochs=...)"""


def check(facts: Facts) -> Finding:
    """Fails where variables of a frozen layer changed within train steps of the first epoch.

    What a frozen layer must not change: what was made to be trained, and, for batch normalization, its moving averages
    (`BatchNormalization.call` updates them under `training and self.trainable`). Counters and states of other layers
    may change. Later epochs are left out, as a callback may have changed `trainable` by then.
    """
    header = facts.trace.header
    layers, variables = header.model.layers, header.variables
    if any(x.trainable is None for x in layers):
        return not_applicable(NAME, NOT_SAID())
    frozen = [x for x in layers if x.trainable is False and _still(variables, x)]
    if not frozen:
        return not_applicable(NAME, NONE())
    if header.compile.custom_train_step:
        return not_applicable(NAME, OWN_STEP(), {"frozen": [x.name for x in frozen]})
    moved, steps = _moved(facts)
    if not steps:
        return not_applicable(NAME, NO_STEP())
    changed = [(x, [i for i in _still(variables, x) if moved.get(i)]) for x in frozen]
    changed = [(x, indices) for x, indices in changed if indices]
    evidence: dict[str, Any] = {
        "frozen": [x.name for x in frozen],
        "steps": steps,
        "changed_in_steps": {variables[i].path: moved[i] for _, indices in changed for i in indices},
    }
    if not changed:
        return Finding(NAME, "passed", UNCHANGED(count=len(frozen)), evidence, "")
    what = {"weights" if i in x.weights else "averages" for x, indices in changed for i in indices}
    most = max(moved[i] for _, indices in changed for i in indices)
    title = FAILED(
        layers=named(tuple(x for x, _ in changed)),
        most=most,
        steps=steps,
        what="both" if len(what) > 1 else min(what),
    )
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE))


def _still(variables: Sequence[Variable], layer: Layer) -> list[int]:
    """Indices of the variables that training must not change while this layer is frozen. One that the model itself
    counts as trainable (shared with a layer that is not frozen, say) is not among them."""
    indices = [*layer.weights, *(layer.statistics if layer.kind == "batch-norm" else ())]
    return [i for i in indices if variables[i].group == "non_trainable"]


def _moved(facts: Facts) -> tuple[dict[int, int], int]:
    """In how many steps of the first epoch each variable changed, and how many steps could be looked at."""
    counts: dict[int, int] = {}
    steps = 0
    for before, after in _steps(facts):
        steps += 1
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                counts[i] = counts.get(i, 0) + 1
    return counts, steps


def _steps(facts: Facts) -> Iterator[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
    trace = facts.trace
    for step in trace.steps:
        if step.epoch != trace.steps[0].epoch:
            return
        before, after = trace.index.computed_with(step), trace.index.produced_by(step)
        if before is not None and after is not None and len(before.arrays) == len(after.arrays):
            yield before.arrays, after.arrays
