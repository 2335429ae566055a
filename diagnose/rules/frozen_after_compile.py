"""Rule `frozen-after-compile`: `trainable` was set after the train step was made, and does nothing: layers that say
`trainable=False` are trained all the same (keras PR#9965), or those that say `trainable=True` stand still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.decide.outside import Flipped, flipped
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.mode_gap import named
from diagnose.tracefile.about import Layer, Variable
from diagnose.tracefile.model import Step

NAME = "frozen-after-compile"

NOT_SAID = Text(
    "frozen-after-compile.not-said", "The trace does not say which layers were frozen; it is from an older version."
)
NONE = Text("frozen-after-compile.none", "No layer with weights was frozen, and none thawed without effect.")
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
    "{layers}: trainable=False{epoch:given( from epoch {epoch} on)}, but {most} of {steps} train steps "
    "{epoch:given(from there on|in the first epoch)} changed the "
    "{what:select(weights=weights|averages=moving averages|both=weights and moving averages)}. The step in use was "
    "made before the freezing.",
)
THAWED = Text(
    "frozen-after-compile.thawed",
    "{layers}: trainable=True{epoch:given( from epoch {epoch} on)}, but none of {steps:plural(# train step|# train "
    "steps)} {epoch:given(from there on )}changed {variables:plural(its weight|the # weights)}: the step in use was "
    "made, and the optimizer built, while {count:plural(it was|they were)} frozen.",
)
ADVICE = Text(
    "frozen-after-compile.advice",
    """\
`trainable` is read when the train step is made, and only `compile` makes a new one. Compile again after {thawed:given(\
thawing, with a new optimizer,|freezing)} and before the next fit{epoch:given(; in a running fit no callback can do \
that, so let the fit end where the flag is to change)}:

{code:python}
{thawed:given(|
The weights that changed stay changed: load or train them anew if they were to be kept.
)}""",
)
CODE = """\
model.compile(optimizer=..., loss=..., metrics=[...])
model.fit(x, y, epochs=...)"""
IN_TWO = """\
model.fit(x, y, epochs={epochs})
model.get_layer("{layer}").trainable = {now}
model.compile(optimizer=..., loss=..., metrics=[...])
model.fit(x, y, initial_epoch={epochs}, epochs=...)"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A step with the contents before and after it."""

    step: Step
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """Layers whose flag has no effect: on `moved`, variables with in how many of `steps` they changed; or, thawed, on
    `still`, variables that none changed. `flip`: what set it within the fit."""

    layers: tuple[Layer, ...]
    steps: int
    moved: dict[int, int]
    still: tuple[int, ...] = ()
    flip: Flipped | None = None


def check(facts: Facts) -> Finding:
    """Fails where variables of a frozen layer changed within train steps, of the first epoch for one that was frozen
    before the fit, else of all after the freezing; or where a layer says that it is trained, the optimizer was built
    without its variables, and no step changed them while others moved.

    What a frozen layer must not change: what was made to be trained, and, for batch normalization, its moving averages
    (`BatchNormalization.call` updates them under `training and self.trainable`). Counters and states of other layers
    may change.
    """
    header = facts.trace.header
    layers, variables = header.model.layers, header.variables
    if any(x.trainable is None for x in layers):
        return not_applicable(NAME, NOT_SAID())
    frozen = [x for x in layers if x.trainable is False and _still(variables, x)]
    flips = flipped(facts.trace)
    thawed = _unknown(facts, [x for x in layers if x.trainable])
    if not frozen and not flips and not thawed:
        return not_applicable(NAME, NONE())
    if header.compile.custom_train_step:
        return not_applicable(NAME, OWN_STEP(), {"frozen": [x.name for x in frozen]})
    seen = list(_steps(facts, whole=bool(flips or thawed)))
    if not seen:
        return not_applicable(NAME, NO_STEP())
    case = _frozen(facts, frozen, seen) or _frozen_since(facts, flips, seen) or _thawed(facts, thawed, seen, flips)
    if case is not None:
        return _failed(facts, case, frozen)
    if not frozen:
        return not_applicable(NAME, NONE())
    evidence = {"frozen": [x.name for x in frozen], "steps": len(_first(seen)), "changed_in_steps": {}}
    return Finding(NAME, "passed", UNCHANGED(count=len(frozen)), evidence, "")


def _frozen(facts: Facts, frozen: Sequence[Layer], seen: Sequence[_Seen]) -> _Case | None:
    """Layers that were frozen when the fit began. Later epochs are left out, as a callback may have thawed some."""
    first, variables = _first(seen), facts.trace.header.variables
    moved = _moved(first)
    changed = [(x, [i for i in _still(variables, x) if moved.get(i)]) for x in frozen]
    found = tuple(x for x, indices in changed if indices)
    return _Case(found, len(first), {i: moved[i] for _, own in changed for i in own}) if found else None


def _frozen_since(facts: Facts, flips: Sequence[Flipped], seen: Sequence[_Seen]) -> _Case | None:
    """Layers that something froze while the fit ran: those of the first moment at which that had no effect."""
    for flip in flips:
        together = [f for f in flips if not f.now and (f.after, f.end) == (flip.after, flip.end)]
        since = _since(seen, flip)
        moved = _moved(since)
        changed = [(x, [i for i in _trained(x) if moved.get(i)]) for f in together if (x := _layer(facts, f.layer))]
        found = tuple(x for x, indices in changed if indices)
        if not flip.now and found:
            return _Case(found, len(since), {i: moved[i] for _, own in changed for i in own}, flip=flip)
    return None


def _thawed(facts: Facts, thawed: Sequence[Layer], seen: Sequence[_Seen], flips: Sequence[Flipped]) -> _Case | None:
    """Layers that were thawed before the fit, or in it, of which the optimizer knows nothing."""
    cases: list[tuple[tuple[Layer, ...], Sequence[_Seen], Flipped | None]] = [(tuple(thawed), seen, None)]
    for flip in flips:
        together = [f for f in flips if f.now and (f.after, f.end) == (flip.after, flip.end)]
        named_so = [x for f in together if (x := _layer(facts, f.layer)) is not None]
        unknown = _unknown(facts, named_so, within=flip.after > 0)
        cases += [(tuple(unknown), _since(seen, flip), flip)] if flip.now else []
    for layers, steps, by in cases:
        own = tuple(dict.fromkeys(i for x in layers for i in x.weights))
        moved = _moved(steps)
        if own and moved and not any(i in moved for i in own):
            return _Case(layers, len(steps), {}, own, by)
    return None


def _unknown(facts: Facts, layers: Sequence[Layer], *, within: bool = False) -> list[Layer]:
    """Those with weights of which the optimizer was built for none.

    Args:
        within: steps of this fit went before: one that was not built yet was so for what was trained in them.
    """
    start, variables = facts.trace.header.start, facts.trace.header.variables
    known = None if start is None else start.updates
    if known is None and within:
        known = tuple(i for i, v in enumerate(variables) if v.group == "trainable")
    if known is None:
        return []
    return [x for x in layers if x.weights and not set(known) & set(x.weights)]


def _failed(facts: Facts, case: _Case, frozen: Sequence[Layer]) -> Finding:
    variables, flip = facts.trace.header.variables, case.flip
    # The flag was set in front of this epoch's first step, or within it.
    epoch = None if flip is None else next((s.epoch for s in facts.trace.steps if s.step >= flip.after), None)
    evidence: dict[str, Any] = {
        "frozen": [x.name for x in frozen],
        "steps": case.steps,
        "changed_in_steps": {variables[i].path: count for i, count in case.moved.items()},
    }
    layers = named(case.layers)
    code = CODE
    if flip is not None and epoch is not None:
        code = IN_TWO.format(epochs=epoch - 1, layer=case.layers[0].name, now=flip.now)
        evidence |= {"epoch": epoch, "layers": [x.name for x in case.layers]}
    if case.still:
        evidence |= {"layers": [x.name for x in case.layers], "unchanged": [variables[i].path for i in case.still]}
        title = THAWED(layers=layers, epoch=epoch, steps=case.steps, variables=len(case.still), count=len(case.layers))
        return Finding(NAME, "failed", title, evidence, ADVICE(code=code, thawed=True, epoch=epoch))
    what = {"weights" if i in x.weights else "averages" for x in case.layers for i in _trained(x) if i in case.moved}
    title = FAILED(
        layers=layers,
        most=max(case.moved.values()),
        steps=case.steps,
        what="both" if len(what) > 1 else min(what),
        epoch=epoch,
    )
    return Finding(NAME, "failed", title, evidence, ADVICE(code=code, thawed=None, epoch=epoch))


def _layer(facts: Facts, name: str) -> Layer | None:
    """The only layer of this name."""
    found = [x for x in facts.trace.header.model.layers if x.name == name]
    return found[0] if len(found) == 1 else None


def _trained(layer: Layer) -> list[int]:
    return [*layer.weights, *(layer.statistics if layer.kind == "batch-norm" else ())]


def _still(variables: Sequence[Variable], layer: Layer) -> list[int]:
    """Indices of the variables that training must not change while this layer is frozen. One that the model itself
    counts as trainable (shared with a layer that is not frozen, say) is not among them."""
    return [i for i in _trained(layer) if variables[i].group == "non_trainable"]


def _first(seen: Sequence[_Seen]) -> list[_Seen]:
    return [s for s in seen if s.step.epoch == seen[0].step.epoch]


def _since(seen: Sequence[_Seen], flip: Flipped) -> list[_Seen]:
    return [s for s in seen if s.step.step >= flip.after and (flip.end is None or s.step.step < flip.end)]


def _moved(seen: Sequence[_Seen]) -> dict[int, int]:
    """In how many steps each variable changed."""
    counts: dict[int, int] = {}
    for s in seen:
        for i, (old, new) in enumerate(zip(s.before, s.after, strict=True)):
            if old != new:
                counts[i] = counts.get(i, 0) + 1
    return counts


def _steps(facts: Facts, *, whole: bool) -> Iterator[_Seen]:
    """Of the whole fit, or of its first epoch."""
    trace = facts.trace
    for step in trace.steps:
        if not whole and step.epoch != trace.steps[0].epoch:
            return
        before, after = trace.index.computed_with(step), trace.index.produced_by(step)
        if before is not None and after is not None and len(before.arrays) == len(after.arrays):
            yield _Seen(step, before.arrays, after.arrays)
