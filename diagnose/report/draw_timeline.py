"""Draws the two-clock timeline from view data: values over versions, and what each was computed at. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from diagnose.report.draw_clocks import LEFT, RIGHT, Rows, draw_clocks, drawable, labelled_ties
from diagnose.report.palette import PALETTE, WIDTH
from diagnose.report.timeline import Tie, TimelineView
from diagnose.result.text import compact, shorten, spell, ticks, width
from diagnose.result.texts import Text

LOGGED = Text("legend.logged", "logged, at the epoch it is filed under")
REEVALUATED = Text("legend.reevaluated", "re-evaluated, at its version")
BEST = Text("legend.best", "best logged {value}")
HELD = Text("legend.held", "{word} {value}")
THRESHOLD = Text("legend.threshold", "threshold {value}")

_VALUES = 2.35
_CONTEXT = 0.75


def draw_timeline(view: TimelineView) -> Figure:
    """Panels from the top: the full curve (where a stretch is in focus), values, the two clocks."""
    rows = Rows.of(view)
    gap, foot = 0.22, 0.1
    # A long name has a line to itself, above the legend.
    name = shorten(view.metric, 90)
    head = 0.42 if width(name) <= 14 else 0.66
    context = 0.0 if view.focus is None else _CONTEXT + 0.42
    total = head + context + _VALUES + gap + rows.height + foot
    figure = Figure(figsize=(WIDTH, total))

    def panel(bottom: float, height: float) -> Axes:
        return figure.add_axes((LEFT / WIDTH, bottom / total, (WIDTH - LEFT - RIGHT) / WIDTH, height / total))

    clocks = panel(foot, rows.height)
    values = panel(foot + rows.height + gap, _VALUES)
    low, high = view.window.first, view.window.last
    pad = max(0.35 if high - low < 30 else 0.0, (high - low) * 0.025)
    for axes in (clocks, values):
        axes.set_xlim(low - pad, high + pad)
    _draw_values(values, view)
    draw_clocks(clocks, view, rows)
    if view.focus is not None:
        _draw_context(panel(total - head - _CONTEXT, _CONTEXT), view)
    figure.text(0.12 / WIDTH, 1 - 0.23 / total, name, weight="bold", size=10, va="baseline")
    _legend(figure, view, 1 - (head - 0.36) / total)
    return figure


def _legend(figure: Figure, view: TimelineView, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    texts = spell([None if view.best is None else view.best.logged, None if view.held is None else view.held.value])
    handles: list[Line2D | Patch] = []

    def add(label: str, **style: object) -> None:
        handles.append(Line2D([], [], label=label, **style))  # type: ignore[arg-type]

    if view.has_logged:
        add(LOGGED.say(), marker="o", color=PALETTE["logged"], linewidth=0,
            markerfacecolor=PALETTE["paper"], markersize=6)  # fmt: skip
    if view.has_reevaluated:
        add(REEVALUATED.say(), marker="o", color=PALETTE["again"], linewidth=1.4, markersize=4.5)
    if view.best is not None:
        add(BEST.say(value=texts[0]), marker="*", color=PALETTE["best"], linewidth=0, markersize=11)
    if view.held is not None and view.held.value is not None:
        add(
            HELD.say(word=view.held.word, value=texts[1]),
            marker="D",
            color=PALETTE["held"],
            linewidth=0,
            markersize=6.5,
        )
    if view.threshold is not None:
        add(THRESHOLD.say(value=compact(view.threshold)), color=PALETTE["best"], linewidth=1, linestyle=(0, (4, 3)))
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1 - RIGHT / WIDTH, top),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        handletextpad=0.3,
        columnspacing=1.4,
        borderaxespad=0,
    )


def _draw_values(axes: Axes, view: TimelineView) -> None:
    """The re-evaluated curve over versions, and each logged value where it is filed, its tail where it was computed."""
    _plain(axes)
    _value_axis(axes, view, view.shown)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.set_xticks([tie.filed_at for tie in labelled_ties(view)])
    axes.grid(axis="both", color=PALETTE["grid"], linewidth=0.8)
    dense = len(view.shown) > 24
    again = [(tie.filed_at, drawable(tie.reevaluated)) for tie in view.shown]
    if view.has_reevaluated:
        axes.plot(*zip(*again, strict=True), "-o", color=PALETTE["again"], linewidth=1.4,
                  markersize=2.6 if dense else 4.5, zorder=3)  # fmt: skip
    else:
        logged = [(tie.filed_at, drawable(tie.logged)) for tie in view.shown]
        axes.plot(*zip(*logged, strict=True), color=PALETTE["tie"], linewidth=1, zorder=2)
    for tie in view.shown:
        y = [drawable(tie.logged)] * 2
        if tie.computed_at is None or math.isnan(y[0]):
            continue
        first, last = tie.computed_at.first, tie.computed_at.last
        colour = PALETTE["best"] if tie.best else PALETTE["tie"]
        if first < last:
            axes.plot([first, last], y, color=colour, linewidth=3.2, solid_capstyle="butt", zorder=2)
        axes.plot([last, tie.filed_at], y, color=colour, linewidth=1.2, zorder=2)
    others = [tie for tie in view.shown if not tie.best]
    axes.plot([tie.filed_at for tie in others], [drawable(tie.logged) for tie in others], "o", color=PALETTE["logged"],
              markerfacecolor=PALETTE["paper"], markersize=3.4 if dense else 6, markeredgewidth=1.2,
              zorder=4)  # fmt: skip
    if view.threshold is not None:
        axes.axhline(view.threshold, color=PALETTE["best"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _highlights(axes, view)
    _not_finite(axes, view)


def _highlights(axes: Axes, view: TimelineView) -> None:
    if view.held is not None and view.window.first <= view.held.version <= view.window.last:
        axes.axvline(view.held.version, color=PALETTE["held"], linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        axes.plot([view.held.version], [drawable(view.held.value)], "D", color=PALETTE["held"], markersize=7, zorder=5)
    if view.best in view.shown and view.best is not None:
        axes.plot([view.best.filed_at], [drawable(view.best.logged)], "*", color=PALETTE["best"], markersize=13,
                  markeredgecolor=PALETTE["paper"], markeredgewidth=0.6, zorder=6)  # fmt: skip


def _not_finite(axes: Axes, view: TimelineView) -> None:
    """Runs of NaN or infinite values, written at the foot of the panel over the epochs they cover."""
    across = axes.get_xaxis_transform()
    for run in view.not_finite:
        x = [run.first.filed_at, run.last.filed_at]
        y = 0.05 if run.which == "logged" else 0.135
        colour = PALETTE["logged" if run.which == "logged" else "again"]
        axes.plot(x, [y, y], "-x", transform=across, color=colour, linewidth=1, markersize=5, clip_on=False)
        # On the side where there is more room.
        right = x[0] - view.window.first <= view.window.last - x[1]
        axes.annotate(run.text, (x[1] if right else x[0], y), xycoords=across, xytext=(6 if right else -6, 0),
                      textcoords="offset points", ha="left" if right else "right", va="center", size=8,
                      color=colour)  # fmt: skip


def _draw_context(axes: Axes, view: TimelineView) -> None:
    """The whole fit, small, with the stretch that is drawn below."""
    _plain(axes)
    _value_axis(axes, view, view.ties, most=3)
    axes.axvspan(view.window.first, view.window.last, color=PALETTE["shade"], zorder=0)
    x = [tie.filed_at for tie in view.ties]
    axes.plot(x, [drawable(tie.logged) for tie in view.ties], color=PALETTE["logged"], linewidth=0.9, zorder=2)
    if view.has_reevaluated:
        axes.plot(x, [drawable(tie.reevaluated) for tie in view.ties], color=PALETTE["again"], linewidth=0.9, zorder=3)
    if view.threshold is not None:
        axes.axhline(view.threshold, color=PALETTE["best"], linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    if view.best is not None:
        axes.plot(
            [view.best.filed_at], [drawable(view.best.logged)], "*", color=PALETTE["best"], markersize=9, zorder=5
        )
    if view.held is not None:
        axes.plot(
            [view.held.version], [drawable(view.held.value)], "D", color=PALETTE["held"], markersize=4.5, zorder=4
        )
    axes.set_xlim(0, max(x) * 1.01)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"v{value:.0f}"))
    axes.tick_params(axis="x", length=2, pad=2, labelsize=7.5)


def _power(value: float, _: object = None) -> str:
    """A tick of a logarithmic axis, a power of ten."""
    return compact(value, 2) if 1e-3 <= value < 1e5 else f"1e{round(math.log10(value))}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _value_axis(axes: Axes, view: TimelineView, ties: Sequence[Tie], most: int = 5) -> None:
    values = [drawable(value) for tie in ties for value in (tie.logged, tie.reevaluated)]
    values = [value for value in values if not math.isnan(value)]
    if view.threshold is not None:
        values.append(view.threshold)
    if view.held is not None and view.held.value is not None and math.isfinite(view.held.value):
        values.append(view.held.value)
    if not values:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        return
    low, high = min(values), max(values)
    if view.scale == "log" and low > 0:
        axes.set_yscale("log")
        margin = (high / low) ** 0.07
        axes.set_ylim(low / margin**2, high * margin)
        axes.yaxis.set_major_locator(LogLocator(numticks=most))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(_power))
        axes.tick_params(axis="y", which="minor", length=0)
        return
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - 1.6 * margin, high + margin
    axes.set_ylim(low, high)
    places = [float(place) for place in MaxNLocator(most, min_n_ticks=2).tick_values(low, high) if low <= place <= high]
    axes.set_yticks(places, ticks(places))
