"""What was found out about a set of weights: as data, and as text for a terminal: one sentence that answers, then what
it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from diagnose.identify.averages import Average
from diagnose.result.text import compact, number, printable, shorten
from diagnose.result.texts import Said, Text, Texts, say, sentences, speaking

PLACE = Text(
    "place",
    "{kind:select(start=before the first update|unknown=of an unknown epoch|end=the end of epoch {epoch}|within=within "
    "epoch {epoch})}",
)
ONE_VERSION = Text("places.one", "version {version}, {place}")
VERSIONS_IN_ROW = Text("places.in-row", "versions {versions:span}, which are equal in this ({first} to {last})")
VERSIONS_LISTED = Text("places.listed", "versions {listed:list}, which are equal in this")
LISTED = Text("places.of-list", "{version} ({place})")

HOLDS_AVERAGE = Text("identified.average", "{source} holds {average}.")
HOLDS_VERSION = Text("identified.version", "{source} holds {places}.")
HOLDS_MOMENT = Text("identified.moment", "{source} holds weights that no single update made: {moments:clauses}.")
MIXES = Text(
    "identified.mixes",
    "{source} mixes versions: its trainable weights are those of {trainable}; its non-trainable ones (batch-norm "
    "statistics and the like) those of {non_trainable}.",
)
HOLDS_BUT = Text(
    "identified.but", "{source} holds {places}, but for {count} of {variables:plural(## variable|## variables)}."
)
PARTLY = Text(
    "identified.partly",
    "{source} holds {matched} of {variables:plural(## variable|## variables)} of {places}: "
    "{differing:given({differing:plural(# is another|# are others)}, )}{missing:plural(# is|# are)} not in it"
    "{unassigned:given( or not told apart)}.",
)
NOT_NEAR = Text(
    "identified.not-near",
    "{source} holds none of the recorded versions; no version's contents were kept, so none can be called the nearest.",
)
NEAREST = Text(
    "identified.nearest",
    "{source} holds none of the recorded versions. The nearest of {compared:,} is {place}, at a relative distance of "
    "{distance}.",
)
MOVING = Text(
    "average.moving",
    "the optimizer's moving averages of the weights{momentum:given( (momentum {momentum}))}, as of "
    "{epoch:given(the end of epoch {epoch}|after fit)}",
)
UNASSIGNED = Text(
    "identified.unassigned",
    "{count:plural(## array of it could be several variables of the same shape, or is of no variable's shape, and is|"
    "## arrays of it could be several variables of the same shape, or are of no variable's shape, and are)} left out: "
    "{names:list}.",
)
MORE = Text("identified.more", "… and {count} more")
DIFFERENCE = Text(
    "identified.difference",
    "{variable}: {how:select(one=its one element differs|unknown=differs|some={different:,} of {elements:plural(## "
    "element|## elements)} differ)}{recorded:select(none=; recorded in no version|one=; it is that of version {first}|"
    "several=; it is that of {versions} versions, {first} to {last})}",
)
ROUNDING = Text("identified.rounding", "Each element is within {error} of the mean: rounding.")
TRAINABLE_MATCH = Text("identified.trainable-match", "The trainable weights match by content.")
OTHERS_OF = Text("identified.others-of", "The non-trainable ones are those of {places}.")
ALL_MATCH = Text("identified.all-match", "All {count:plural(## variable|## variables)} match by content.")
SOME_MATCH = Text("identified.some-match", "{matched} of {count:plural(## variable|## variables)} match by content.")
NONE_MATCH = Text("identified.none-match", "No weights that moved in this fit match a recorded version by content.")
AFTER_FIT = Text("identified.after-fit", "The model held exactly these weights after fit.")
OTHERS_AFTER_FIT = Text(
    "identified.others-after-fit",
    "After fit the model held others: {places:given({places}|weights that no single update made)}.",
)
OPTIMIZER = Text(
    "identified.optimizer",
    "With it comes an optimizer state ({variables:plural(## variable|## variables)})"
    "{of:select(same=: the one recorded at the end of the same epoch|epoch=: the one recorded at the end of epoch "
    "{epoch}|after-fit=: the one recorded after fit|none=: none of those recorded at the ends of {recorded:plural(## "
    "epoch|## epochs)} and after fit|nothing=; none was recorded to compare it with)}.",
)

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


def text(found: Identification, texts: Texts | None = None) -> str:
    """Several lines, without an end of line at the last."""
    with speaking(texts):
        lines = [printable(say(_answer(found)))]
        lines += [f"  {line}" for line in _differences(found)]
        facts: list[str] = [_rests_on(found), *_after_fit(found), *_optimizer(found.optimizer, found)]
        if found.unassigned:
            names = [*found.unassigned[:5], *(["…"] if len(found.unassigned) > 5 else [])]
            facts.append(UNASSIGNED(count=len(found.unassigned), names=names))
        lines += [f"  {printable(say(fact))}" for fact in (*facts, *found.notes) if fact]
    return "\n".join(lines)


def _answer(found: Identification) -> Said:
    source = found.source
    if found.average is not None:
        return HOLDS_AVERAGE(source=source, average=_average(found.average))
    if found.kind == "exact" and found.places:
        return HOLDS_VERSION(source=source, places=places(found.places))
    if found.kind == "exact":
        return HOLDS_MOMENT(source=source, moments=found.moments)
    if found.kind == "partial":
        if found.trainable and found.non_trainable and not found.unassigned:
            return MIXES(source=source, trainable=places(found.trainable), non_trainable=places(found.non_trainable))
        count = len(found.differences)
        missing = found.variables - found.matched - count
        if missing > 0:
            return PARTLY(
                source=source,
                places=places(found.places),
                matched=found.matched,
                variables=found.variables,
                differing=count or None,
                missing=missing,
                unassigned=bool(found.unassigned),
            )
        return HOLDS_BUT(source=source, places=places(found.places), count=count, variables=found.variables)
    if found.nearest is None:
        return NOT_NEAR(source=source)
    return NEAREST(
        source=source,
        compared=found.nearest.compared,
        place=places([found.nearest.place]),
        distance=compact(found.nearest.distance, 3),
    )


def places(found: Sequence[Place]) -> Said:
    """version 12, the end of epoch 3."""
    if len(found) == 1:
        return ONE_VERSION(version=found[0].version, place=_where(found[0]))
    first, last = found[0], found[-1]
    if len({p.version for p in found}) == last.version - first.version + 1:
        return VERSIONS_IN_ROW(versions=[first.version, last.version], first=_where(first), last=_where(last))
    listed = [LISTED(version=p.version, place=_where(p)) for p in found[:6]]
    return VERSIONS_LISTED(listed=[*listed, *(["…"] if len(found) > 6 else [])])


def _where(place: Place) -> Said:
    if place.version == 0:
        return PLACE(kind="start")
    if place.epoch is None:
        return PLACE(kind="unknown")
    return PLACE(kind="end" if place.ends else "within", epoch=place.epoch)


def _average(average: Average) -> str:
    if average.kind != "optimizer":
        return average.text
    momentum = None if average.momentum is None else compact(average.momentum)
    return MOVING(momentum=momentum, epoch=average.epochs[-1] if average.epochs else None)


def _differences(found: Identification) -> list[str]:
    if found.kind != "partial":
        return []
    shown = found.differences[:MOST_LISTED]
    lines = [_difference(d) for d in shown]
    if len(found.differences) > len(shown):
        lines.append(MORE.say(count=len(found.differences) - len(shown)))
    return lines


def _difference(d: Difference) -> str:
    one = d.elements == 1 and d.different == 1
    return DIFFERENCE.say(
        variable=shorten(printable(d.variable), NAME_COLUMNS),
        how="one" if one else "unknown" if d.different is None else "some",
        different=d.different,
        elements=d.elements,
        recorded="none" if not d.versions else "one" if len(d.versions) == 1 else "several",
        versions=len(d.versions),
        first=d.versions[0] if d.versions else None,
        last=d.versions[-1] if d.versions else None,
    )


def _rests_on(found: Identification) -> Said:
    if found.average is not None and found.average.kind != "optimizer":
        return ROUNDING(error=number(found.average.error, 2))
    if found.average is not None:
        others = OTHERS_OF(places=places(found.non_trainable)) if found.non_trainable else ""
        return sentences(TRAINABLE_MATCH(), others)
    if found.kind == "exact":
        return ALL_MATCH(count=found.variables)
    if found.kind == "partial":
        return SOME_MATCH(matched=found.matched, count=found.variables)
    return NONE_MATCH()


def _after_fit(found: Identification) -> list[Said]:
    if found.after_fit is None:
        return []
    if found.after_fit:
        return [AFTER_FIT()]
    return [OTHERS_AFTER_FIT(places=places(found.held_after_fit) if found.held_after_fit else None)]


def _optimizer(state: OptimizerState | None, found: Identification) -> list[Said]:
    if state is None:
        return []
    same = found.kind == "exact" and any(p.ends and p.epoch in state.epochs for p in found.places)
    if state.epochs:
        of = "same" if same else "epoch"
    else:
        of = "after-fit" if state.after_fit else "none" if state.recorded else "nothing"
    epoch = state.epochs[0] if state.epochs else None
    return [OPTIMIZER(variables=state.variables, of=of, epoch=epoch, recorded=state.recorded)]
