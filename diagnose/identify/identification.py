"""What was found out about a set of weights: as data, and as text for a terminal: one sentence that answers, then what
it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from diagnose.identify.averages import Average
from diagnose.result.text import compact, number, plural, printable, shorten, span

MOST_LISTED = 20
NAME_COLUMNS = 48


@dataclass(frozen=True, slots=True)
class Place:
    """A version, and the (1-based) epoch it ends (`ends`) or stands in; None for a version before the first step."""

    version: int
    epoch: int | None
    ends: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """A variable that is not as in the version named: `different` of `elements` (None where that version's contents
    were not kept), and the versions in which it was recorded with exactly this content."""

    variable: str
    group: str
    elements: int
    different: int | None
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The closest of `compared` kept versions: L2 distance over all weights, relative to that version's norm."""

    place: Place
    distance: float
    compared: int


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """An optimizer state that came with the weights: the epochs at whose end it was recorded, and whether it is that
    after fit. Both empty: none of the recorded ones."""

    variables: int
    epochs: tuple[int, ...]
    after_fit: bool
    recorded: int


@dataclass(frozen=True, slots=True)
class Identification:
    """Which recorded version a set of weights is.

    `kind`: "exact", all weights are those of `places` (or, without any, of `moments`); "partial", some are those of
    `places`, the others are `differences`; "average", see `average`; "none", see `nearest`. `trainable` and
    `non_trainable` are the versions that match each of the two alone (empty also where the model has no such weights).
    `moments`: recorded states with exactly these weights that are not the outcome of an update. `after_fit`: whether
    the model held them after fit (None where that was not recorded), and `held_after_fit` the versions it held then.
    `unassigned`: arrays of the file that could be several variables.
    """

    source: str
    trace: str
    kind: Literal["exact", "partial", "average", "none"]
    variables: int
    matched: int
    places: tuple[Place, ...]
    trainable: tuple[Place, ...]
    non_trainable: tuple[Place, ...]
    moments: tuple[str, ...]
    differences: tuple[Difference, ...]
    average: Average | None
    nearest: Nearest | None
    optimizer: OptimizerState | None
    after_fit: bool | None
    held_after_fit: tuple[Place, ...]
    unassigned: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: versions count updates, epochs are 1-based."""
        return asdict(self)

    def __str__(self) -> str:
        return text(self)


def text(found: Identification) -> str:
    """Several lines, without an end of line at the last."""
    lines = [printable(f"{found.source} {_answer(found)}")]
    lines += [f"  {line}" for line in _differences(found)]
    facts = [_rests_on(found), *_after_fit(found), *_optimizer(found.optimizer, found)]
    if found.unassigned:
        names = ", ".join(found.unassigned[:5]) + (", …" if len(found.unassigned) > 5 else "")
        facts.append(
            f"{plural(len(found.unassigned), 'array')} of it could be several variables of the same shape, and "
            f"{'is' if len(found.unassigned) == 1 else 'are'} left out: {names}."
        )
    lines += [f"  {printable(fact)}" for fact in (*facts, *found.notes) if fact]
    return "\n".join(lines)


def _answer(found: Identification) -> str:
    if found.average is not None:
        return f"holds {_average(found.average)}."
    if found.kind == "exact" and found.places:
        return f"holds {places(found.places)}."
    if found.kind == "exact":
        return f"holds weights that no single update made: {'; '.join(found.moments)}."
    if found.kind == "partial":
        if found.trainable and found.non_trainable and not found.unassigned:
            return (
                f"mixes versions: its trainable weights are those of {places(found.trainable)}; its non-trainable ones "
                f"(batch-norm statistics and the like) those of {places(found.non_trainable)}."
            )
        return (
            f"holds {places(found.places)}, but for {len(found.differences)} of {plural(found.variables, 'variable')}."
        )
    if found.nearest is None:
        return (
            "holds none of the recorded versions; no version's contents were kept, so none can be called the nearest."
        )
    return (
        f"holds none of the recorded versions. The nearest of {found.nearest.compared:,} is "
        f"{places([found.nearest.place])}, at a relative distance of {compact(found.nearest.distance, 3)}."
    )


def places(found: Sequence[Place]) -> str:
    """version 12, the end of epoch 3."""
    if len(found) == 1:
        return f"version {found[0].version}, {_where(found[0])}"
    if len({p.version for p in found}) == found[-1].version - found[0].version + 1:
        return (
            f"versions {span(found[0].version, found[-1].version)}, which are equal in this "
            f"({_where(found[0])} to {_where(found[-1])})"
        )
    listed = [f"{p.version} ({_where(p)})" for p in found[:6]] + ["…"] * (len(found) > 6)
    return f"versions {', '.join(listed)}, which are equal in this"


def _where(place: Place) -> str:
    if place.version == 0:
        return "before the first update"
    if place.epoch is None:
        return "of an unknown epoch"
    return f"{'the end of' if place.ends else 'within'} epoch {place.epoch}"


def _average(average: Average) -> str:
    if average.kind == "mean":
        return f"the mean of the weights at the ends of epochs {span(average.epochs[0], average.epochs[-1])}"
    of = "" if average.momentum is None else f" (momentum {compact(average.momentum)})"
    if not average.epochs:
        return f"the optimizer's moving averages of the weights{of}, as of after fit"
    return f"the optimizer's moving averages of the weights{of}, as of the end of epoch {average.epochs[-1]}"


def _differences(found: Identification) -> list[str]:
    if found.kind != "partial":
        return []
    shown = found.differences[:MOST_LISTED]
    lines = [f"{shorten(printable(d.variable), NAME_COLUMNS)}: {_difference(d)}" for d in shown]
    if len(found.differences) > len(shown):
        lines.append(f"… and {len(found.differences) - len(shown)} more")
    return lines


def _difference(d: Difference) -> str:
    count = "differs" if d.different is None else f"{d.different:,} of {plural(d.elements, 'element')} differ"
    if d.elements == 1 and d.different == 1:
        count = "its one element differs"
    if not d.versions:
        return f"{count}; recorded in no version"
    if len(d.versions) == 1:
        return f"{count}; it is that of version {d.versions[0]}"
    return f"{count}; it is that of {len(d.versions)} versions, {d.versions[0]} to {d.versions[-1]}"


def _rests_on(found: Identification) -> str:
    if found.average is not None and found.average.kind == "mean":
        return f"Each element is within {number(found.average.error, 2)} of the mean: rounding."
    if found.average is not None:
        return f"The trainable weights match by content.{_beside(found)}"
    if found.kind == "exact":
        return f"All {plural(found.variables, 'variable')} match by content."
    if found.kind == "partial":
        return f"{found.matched} of {plural(found.variables, 'variable')} match by content."
    return "No weights that moved in this fit match a recorded version by content."


def _beside(found: Identification) -> str:
    return f" The non-trainable ones are those of {places(found.non_trainable)}." if found.non_trainable else ""


def _after_fit(found: Identification) -> list[str]:
    if found.after_fit is None:
        return []
    if found.after_fit:
        return ["The model held exactly these weights after fit."]
    held = f"{places(found.held_after_fit)}" if found.held_after_fit else "weights that no single update made"
    return [f"After fit the model held others: {held}."]


def _optimizer(state: OptimizerState | None, found: Identification) -> list[str]:
    if state is None:
        return []
    has = f"With it comes an optimizer state ({plural(state.variables, 'variable')})"
    if state.epochs:
        same = found.kind == "exact" and any(p.ends and p.epoch in state.epochs for p in found.places)
        also = "the same epoch" if same else f"epoch {state.epochs[0]}"
        return [f"{has}: the one recorded at the end of {also}."]
    if state.after_fit:
        return [f"{has}: the one recorded after fit."]
    if state.recorded:
        return [f"{has}: none of those recorded at the ends of {plural(state.recorded, 'epoch')} and after fit."]
    return [f"{has}; none was recorded to compare it with."]
