"""What the two-clock timeline shows: which logged value is tied to which weights versions, and which stretch is
drawn. Draws nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diagnose.report.restoration_view import HELD
from diagnose.result.diagnosis import Diagnosis, Restoration, Span
from diagnose.result.text import number, printable, shorten, spell
from diagnose.result.texts import Text

LAST = Text("timeline.last", "last")
RUN = Text(
    "timeline.run",
    "{which:select(logged=logged|re-evaluated=re-evaluated)} {kinds}, {several:given(epochs|epoch)} {epochs:span}",
)
NOT_KNOWN = Text("timeline.not-known", "Where {metric} was computed is not known, so no value is tied to a version.")
UPRIGHT = Text(
    "timeline.upright",
    "Every tie is upright: each {metric} was computed with exactly the weights at the end of the epoch it is filed "
    "under.",
)
SLANTED = Text(
    "timeline.slanted",
    "Every tie slants back: each {metric} was computed with weights from before the epoch's end, so the number and the "
    "weights filed under one epoch do not belong together.",
)
WEDGE = Text(
    "timeline.wedge",
    "Every tie is a wedge: each {metric} averages steps computed at all the versions it spans, so no single version "
    "owns it.",
)

SAME_WEIGHTS = Text(
    "timeline.same-weights",
    "A wide tie spans versions that hold the same weights: all steps of an epoch were computed with them, so each "
    "{metric} belongs to them, not to those at its epoch's end.",
)
SOME_SAME = Text(
    "timeline.some-same",
    "A wide tie spans the versions that {metric} was computed at; in some epochs these hold the same weights, which "
    "then own the value, in others the value averages over different ones and no version owns it.",
)

WHOLE_UP_TO = 40
"""Fits with at most this many epochs are drawn whole; longer ones with a focus window and the full curve as context."""
FOCUS_EPOCHS = 12
MOST_TIES = 2000
"""Points of the curve that shows the whole fit."""
_WIDEST_FOCUS = 30
_LABEL_VALUES_UP_TO = 12
_LOG_RATIO = 100.0


@dataclass(frozen=True, slots=True)
class Tie:
    """One logged value: filed under `epoch`, whose end is version `filed_at`, and computed at the versions
    `computed_at` (None: not known). `reevaluated` is the value of the version `filed_at`. Labels are spelled so that
    different values differ. `same_weights`: whether these versions hold the same trainable weights."""

    epoch: int
    filed_at: int
    computed_at: Span | None
    logged: float | None
    reevaluated: float | None
    logged_label: str = ""
    reevaluated_label: str = ""
    best: bool = False
    same_weights: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The version the model holds after fit. `word` is "restored", or "held after fit" where nothing was put back."""

    version: int
    value: float | None
    word: str


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring epochs inside the window whose value is NaN or infinite, and so has no place on the value axis."""

    which: Literal["logged", "re-evaluated"]
    first: Tie
    last: Tie
    text: str


@dataclass(frozen=True, slots=True)
class TimelineView:
    """`ties` are all epochs with a logged value (of more than `MOST_TIES`, every so many-th); `shown` those inside the
    focus window (all of them where there is none).

    `window` is the first and last version drawn; `focus` is None when that is the whole fit.
    `threshold` is the value at which a callback of this fit stops, where a finding knows one.
    """

    metric: str
    ties: tuple[Tie, ...]
    shown: tuple[Tie, ...]
    window: Span
    focus: Span | None
    scale: Literal["linear", "log"]
    best: Tie | None
    held: Held | None
    threshold: float | None
    not_finite: tuple[Run, ...]
    label_values: bool
    caption: str

    @property
    def has_reevaluated(self) -> bool:
        return any(tie.reevaluated is not None for tie in self.ties)

    @property
    def has_logged(self) -> bool:
        return any(tie.logged is not None for tie in self.ties)


def build_timeline(diagnosis: Diagnosis) -> TimelineView | None:
    """The timeline of the key metric; None where the fit logged nothing."""
    metric = diagnosis.key_metric
    if metric is None:
        return None
    restoration = diagnosis.restoration if _about(diagnosis.restoration, metric) else None
    best_epoch = None if restoration is None else restoration.best_epoch
    ties = tuple(
        Tie(
            epoch=row.epoch,
            filed_at=row.last_version,
            computed_at=None if (clock := row.clocks.get(metric)) is None else clock.span,
            logged=row.logged.get(metric),
            reevaluated=row.reevaluated.get(metric),
            best=row.epoch == best_epoch,
            same_weights=clock is not None and clock.same_weights,
        )
        for row in diagnosis.epoch_rows
        if metric in row.logged or metric in row.reevaluated
    )
    if not ties:
        return None
    held = _held(diagnosis, metric)
    best = next((tie for tie in ties if tie.best), None)
    shown = _focus(ties, best, held)
    label_values = len(shown) <= _LABEL_VALUES_UP_TO
    ties, shown = _labelled(ties, shown, label_values)
    first = min(tie.filed_at if tie.computed_at is None else min(tie.computed_at.first, tie.filed_at) for tie in shown)
    last = max(tie.filed_at for tie in shown)
    if held is not None and len(shown) == len(ties):
        first, last = min(first, held.version), max(last, held.version)
    window = Span(first, max(last, first + 1))
    best = next((tie for tie in ties if tie.best), None)
    return TimelineView(
        metric=printable(metric),
        ties=_thin(ties, best),
        shown=shown,
        window=window,
        focus=window if len(shown) < len(ties) else None,
        scale=_scale(shown),
        best=best,
        held=held,
        threshold=_threshold(diagnosis, metric),
        not_finite=(*_not_finite(shown, "logged"), *_not_finite(shown, "re-evaluated")),
        label_values=label_values,
        caption=_caption(ties, shorten(printable(metric), 60)),
    )


def _about(restoration: Restoration | None, metric: str) -> bool:
    return restoration is not None and restoration.monitor == metric


def _held(diagnosis: Diagnosis, metric: str) -> Held | None:
    restoration = diagnosis.restoration
    if restoration is not None:
        if restoration.restored_version is None:
            return None
        word = HELD.say(restored=restoration.put_back)
        return Held(restoration.restored_version, restoration.restored_value, word)
    if not diagnosis.epoch_rows:
        return None
    last = diagnosis.epoch_rows[-1]
    return Held(last.last_version, last.reevaluated.get(metric), LAST.say())


def _focus(ties: Sequence[Tie], best: Tie | None, held: Held | None) -> tuple[Tie, ...]:
    """The epochs around what matters: best logged and held after fit if they lie together, else the first of them
    that exists."""
    if len(ties) <= WHOLE_UP_TO:
        return tuple(ties)
    points = [] if best is None else [ties.index(best)]
    if held is not None:
        points.append(min(range(len(ties)), key=lambda i: abs(ties[i].filed_at - held.version)))
    if not points:
        points = [len(ties) - 1]
    if max(points) - min(points) > _WIDEST_FOCUS:
        points = points[:1]
    # A few epochs after the last point show that it turned; the ones before it, how it came about.
    stop = min(len(ties), max(points) + 4)
    start = max(0, min(min(points) - 3, stop - FOCUS_EPOCHS))
    stop = min(len(ties), max(stop, start + FOCUS_EPOCHS))
    return tuple(ties[start:stop])


def _thin(ties: tuple[Tie, ...], best: Tie | None) -> tuple[Tie, ...]:
    """Of very many, every so many-th: the curve of the whole fit is drawn two thumbs high."""
    if len(ties) <= MOST_TIES:
        return ties
    stride = -(-len(ties) // MOST_TIES)
    return tuple(tie for i, tie in enumerate(ties) if i % stride == 0 or i == len(ties) - 1 or tie is best)


def _labelled(ties: tuple[Tie, ...], shown: tuple[Tie, ...], every: bool) -> tuple[tuple[Tie, ...], tuple[Tie, ...]]:
    """With labels: on all shown ties, or, where they would not fit, on the best alone."""
    wanted = [tie for tie in shown if every or tie.best]
    texts = spell([tie.logged for tie in wanted] + [tie.reevaluated for tie in wanted], most=8)
    labels = {tie.epoch: (texts[i], texts[i + len(wanted)]) for i, tie in enumerate(wanted)}

    def label(tie: Tie) -> Tie:
        logged, reevaluated = labels.get(tie.epoch, ("", ""))
        return Tie(
            tie.epoch,
            tie.filed_at,
            tie.computed_at,
            tie.logged,
            tie.reevaluated,
            "" if tie.logged is None else logged,
            "" if tie.reevaluated is None else reevaluated,
            tie.best,
            tie.same_weights,
        )

    return tuple(label(tie) for tie in ties), tuple(label(tie) for tie in shown)


def _scale(shown: Sequence[Tie]) -> Literal["linear", "log"]:
    values = [v for tie in shown for v in (tie.logged, tie.reevaluated) if v is not None and math.isfinite(v)]
    if len(values) > 1 and min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
        return "log"
    return "linear"


def _not_finite(shown: Sequence[Tie], which: Literal["logged", "re-evaluated"]) -> list[Run]:
    runs = []
    values = [tie.logged if which == "logged" else tie.reevaluated for tie in shown]
    pairs = zip(shown, values, strict=True)
    for bad, group in itertools.groupby(pairs, key=lambda pair: pair[1] is not None and not math.isfinite(pair[1])):
        if bad:
            ties, found = zip(*group, strict=True)
            kinds = "/".join(dict.fromkeys(map(number, found)))
            epochs = [ties[0].epoch, ties[-1].epoch]
            text = RUN.say(which=which, kinds=kinds, several=len(ties) > 1, epochs=epochs)
            runs.append(Run(which, ties[0], ties[-1], text))
    return runs


def _threshold(diagnosis: Diagnosis, metric: str) -> float | None:
    for finding in diagnosis.findings:
        value = finding.evidence.get("threshold")
        if finding.metric == metric and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if math.isfinite(value) else None
    return None


def _caption(ties: Sequence[Tie], metric: str) -> str:
    """One sentence that says how to read the ties of this very figure."""
    known = [tie for tie in ties if tie.computed_at is not None]
    spans = [(tie.computed_at, tie.filed_at) for tie in known if tie.computed_at is not None]
    if not spans:
        return NOT_KNOWN.say(metric=metric)
    if all(at.first == at.last == filed for at, filed in spans):
        return UPRIGHT.say(metric=metric)
    if all(at.first == at.last for at, _ in spans):
        return SLANTED.say(metric=metric)
    if all(tie.same_weights for tie in known):
        return SAME_WEIGHTS.say(metric=metric)
    if any(tie.same_weights for tie in known):
        return SOME_SAME.say(metric=metric)
    return WEDGE.say(metric=metric)
