"""Draws the two clocks from view data: logged values above, weights versions below, ties between. Decides nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from diagnose.report.palette import PALETTE, WIDTH
from diagnose.report.restoration_view import COMPUTED_AT, versions
from diagnose.report.timeline import Tie, TimelineView
from diagnose.result.text import number, spell
from diagnose.result.texts import Text

LOG_LINE = Text("clocks.log-line", "logged values,\nfiled under epoch")
VERSIONS_LINE = Text("clocks.versions-line", "weights\nversions")
BEST = Text("clocks.best", "best logged{value:given( {value})}, filed under epoch {epoch}")
HELD = Text("clocks.held", "{word} version {version}{value:given(: {value})}")

LEFT, RIGHT = 1.2, 0.3
_CHAR = 0.078
"""Inches a character of a label takes, with its share of the space between labels (9 point digits of DejaVu Sans)."""
LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Rows:
    """Heights in inches inside the clocks panel, from its lower edge; a row that has nothing to say takes no room."""

    held: float
    computed: float
    value: float
    version: float
    versions: float
    log: float
    epoch: float
    logged: float
    best: float
    height: float
    numbers: bool

    @classmethod
    def of(cls, view: TimelineView) -> Rows:
        longest = [max(tie.logged_label, tie.reevaluated_label, key=len) for tie in view.shown]
        numbers = view.label_values and _fit(view, longest)
        best = view.best in view.shown if view.best is not None else False
        held = 0.1
        computed = held + 0.22 * (view.held is not None)
        value = computed + 0.23 * best
        version = value + 0.19 * (numbers and view.has_reevaluated)
        versions = version + 0.2
        log = versions + 0.85
        epoch = log + 0.12
        logged = epoch + 0.18
        above = logged + 0.24 if numbers else epoch + 0.26
        return cls(held, computed, value, version, versions, log, epoch, logged, above, above + 0.1, numbers)


def draw_clocks(axes: Axes, view: TimelineView, rows: Rows) -> None:
    """The upper line holds logged values at the epochs they are filed under, the lower one weights versions."""
    axes.set_ylim(0, rows.height)
    axes.axis("off")
    left = axes.get_xlim()[0]
    right = axes.get_xlim()[1]
    for y, name in ((rows.log, LOG_LINE.say()), (rows.versions, VERSIONS_LINE.say())):
        axes.plot([left, right], [y, y], color=PALETTE["line"], linewidth=1.2, zorder=1)
        axes.annotate(name, (0, y), xycoords=axes.get_yaxis_transform(), xytext=(-6, 0), textcoords="offset points",
                      ha="right", va="center", size=8, color=PALETTE["muted"], linespacing=1.25)  # fmt: skip
    _draw_ties(axes, view, rows)
    _draw_versions(axes, view, rows)
    colours = [PALETTE["best"] if tie.best else PALETTE["logged"] for tie in view.shown]
    dense = len(view.shown) > 24
    for tie, colour in zip(view.shown, colours, strict=True):
        if tie.logged is None:
            continue
        marker, size = ("*", 13.0) if tie.best else ("o", 3.2 if dense else 5.5)
        if math.isnan(drawable(tie.logged)):
            marker, size = "x", 5.0
        axes.plot([tie.filed_at], [rows.log], marker, color=colour, markersize=size, zorder=6 if tie.best else 5)
    labelled = labelled_ties(view)
    for tie in labelled:
        weight = "bold" if tie.best else "normal"
        axes.text(tie.filed_at, rows.epoch, str(tie.epoch), ha="center", va="bottom", size=8.5, weight=weight)
        if rows.numbers:
            axes.text(tie.filed_at, rows.logged, tie.logged_label, ha="center", va="bottom", size=8.5, weight=weight,
                      color=PALETTE["best" if tie.best else "logged"])  # fmt: skip
            axes.text(tie.filed_at, rows.value, tie.reevaluated_label, ha="center", va="center", size=8.5,
                      color=PALETTE["again"])  # fmt: skip
    _say(axes, view, rows)


def _draw_ties(axes: Axes, view: TimelineView, rows: Rows) -> None:
    wedges = [tie for tie in view.shown if tie.computed_at is not None and tie.computed_at.first < tie.computed_at.last]
    for chosen, colour, alpha in ((False, PALETTE["tie"], 0.33), (True, PALETTE["best"], 0.3)):
        corners = [
            [(tie.filed_at, rows.log), (tie.computed_at.first, rows.versions), (tie.computed_at.last, rows.versions)]
            for tie in wedges
            if tie.best is chosen and tie.computed_at is not None
        ]
        if corners:
            axes.add_collection(
                PolyCollection(corners, facecolor=(colour, alpha), edgecolor=colour, linewidth=0.8, zorder=2),
                autolim=False,
            )
    for tie in view.shown:
        if tie.computed_at is not None and tie.computed_at.first == tie.computed_at.last and tie.logged is not None:
            axes.plot([tie.filed_at, tie.computed_at.first], [rows.log, rows.versions],
                      color=PALETTE["best"] if tie.best else PALETTE["tie"], linewidth=2.4 if tie.best else 1.5,
                      zorder=3 if tie.best else 2)  # fmt: skip


def _draw_versions(axes: Axes, view: TimelineView, rows: Rows) -> None:
    low, high = view.window.first, view.window.last
    ends = [tie.filed_at for tie in view.shown]
    if high - low <= 200:
        between = sorted(set(range(low, high + 1)) - set(ends))
        axes.plot(between, [rows.versions] * len(between), "|", color=PALETTE["muted"], markersize=4, zorder=3)
    axes.plot(ends, [rows.versions] * len(ends), "o", color=PALETTE["again"], zorder=4,
              markersize=3 if len(ends) > 24 else 5.5)  # fmt: skip
    labels = sorted({tie.filed_at for tie in labelled_ties(view)} | ({low} if low == 0 else set()))
    for version in labels:
        held = view.held is not None and view.held.version == version
        axes.text(version, rows.version, f"v{version}", ha="center", va="center", size=8.5,
                  weight="bold" if held else "normal")  # fmt: skip


def _say(axes: Axes, view: TimelineView, rows: Rows) -> None:
    """The sentences at the marked places: best logged above, computed at and held below."""
    best, held = view.best, view.held
    if best is not None and best in view.shown:
        text = BEST.say(value=None if rows.numbers else best.logged_label or number(best.logged), epoch=best.epoch)
        _sentence(axes, view, best.filed_at, rows.best, text, "best")
        at = best.computed_at
        if at is not None:
            text = COMPUTED_AT.say(at=versions(at.first, at.last))
            _sentence(axes, view, (at.first + at.last) / 2, rows.computed, text, "best")
            axes.plot([at.first, at.last], [rows.versions] * 2, color=PALETTE["best"], linewidth=4, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
            if at.first == at.last:
                axes.plot([at.first], [rows.versions], "o", color=PALETTE["best"], markerfacecolor="none",
                          markersize=12, markeredgewidth=1.5, zorder=5)  # fmt: skip
    if held is not None and view.window.first <= held.version <= view.window.last:
        axes.plot([held.version], [rows.versions], "D", color=PALETTE["held"], markersize=8, zorder=6)
        known = [None if best is None else best.logged, held.value]
        value = None if held.value is None else spell(known)[1]
        text = HELD.say(word=held.word, version=held.version, value=value)
        _sentence(axes, view, held.version, rows.held, text, "held")


def _sentence(axes: Axes, view: TimelineView, x: float, y: float, text: str, colour: str) -> None:
    """Text at `x`, set to the side where the panel has room for it."""
    place = (x - view.window.first) / (view.window.last - view.window.first)
    align = "left" if place < 0.15 else "right" if place > 0.85 else "center"
    axes.text(x, y, text, ha=align, va="center", size=8.8, weight="bold", color=PALETTE[colour])


def _fit(view: TimelineView, labels: Sequence[str]) -> bool:
    """Whether every shown epoch has room for its label."""
    ends = sorted(tie.filed_at for tie in view.shown)
    closest = min((b - a for a, b in itertools.pairwise(ends)), default=view.window.last - view.window.first)
    return max(map(len, labels), default=0) * _CHAR <= closest * _inches_per_update(view)


def _inches_per_update(view: TimelineView) -> float:
    return (WIDTH - LEFT - RIGHT) * 0.95 / (view.window.last - view.window.first)


def labelled_ties(view: TimelineView) -> list[Tie]:
    """The epochs whose number is written: those marked, and round ones with room between them."""
    room = (max(len(str(view.shown[-1].epoch)), len(f"v{view.window.last}")) + 1.2) * _CHAR / _inches_per_update(view)
    marked = [tie for tie in view.shown if tie.best or (view.held is not None and tie.filed_at == view.held.version)]
    chosen = marked[:1]
    chosen += [tie for tie in marked[1:] if abs(tie.filed_at - chosen[0].filed_at) >= room * 0.8]
    count = len(view.shown)
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if count / s <= 25), count)
    for tie in view.shown:
        if tie.epoch % step == 0 and all(abs(tie.filed_at - other.filed_at) >= room for other in chosen):
            chosen.append(tie)
    return sorted(chosen, key=lambda tie: tie.filed_at)


def drawable(value: float | None) -> float:
    """The value, or NaN (a gap in a curve) where there is nothing that can be drawn."""
    return value if value is not None and math.isfinite(value) and abs(value) < LARGEST else math.nan
