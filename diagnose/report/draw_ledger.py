"""Draws ledger waterfalls from view data: logged, factors, residual, evaluated. Computes no amounts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diagnose.report.ledger_view import LedgerRow, LedgerView
from diagnose.report.palette import PALETTE, WIDTH
from diagnose.result.text import shorten, ticks
from diagnose.result.texts import Text

RANGE = Text("ledger.range", "{low} to {high}")
NOT_DRAWN = Text("ledger.not-drawn", "{value}: not finite, not drawn")

_ROW = 0.27
_HEAD = 0.42
_FOOT = 0.42
_LEFT = 1.85
_RIGHT = 2.35
_AMOUNT, _RANGE = 0.12, 0.98  # inches right of the panel
_LARGEST = 1e300  # beyond it Matplotlib's own arithmetic overflows


def draw_ledgers(views: Sequence[LedgerView]) -> Figure:
    """One panel per ledger, one above the other, rows aligned."""
    heights = [len(view.rows) * _ROW + _HEAD + _FOOT for view in views]
    total = sum(heights)
    figure = Figure(figsize=(WIDTH, total))
    top = total
    for view, height in zip(views, heights, strict=True):
        bottom = top - height + _FOOT
        axes = figure.add_axes(
            (_LEFT / WIDTH, bottom / total, (WIDTH - _LEFT - _RIGHT) / WIDTH, len(view.rows) * _ROW / total)
        )
        title = shorten(view.title, 110)
        figure.text(0.12 / WIDTH, (top - 0.26) / total, title, weight="bold", size=9.5, va="baseline")
        _panel(axes, view)
        top -= height
    return figure


def _panel(axes: Axes, view: LedgerView) -> None:
    low, high = _limits(view.rows)
    pad = (high - low) * 0.04
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(len(view.rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="x", length=3)
    places = [float(place) for place in MaxNLocator(6, min_n_ticks=2).tick_values(low, high)]
    places = [place for place in places if low - pad <= place <= high + pad]
    if _degenerate(view.rows):
        places = []
    axes.set_xticks(places, ticks(places))
    axes.grid(axis="x", color=PALETTE["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    for index, row in enumerate(view.rows):
        _row(axes, index, row)
        if index + 1 < len(view.rows) and _drawable(row.end):
            axes.plot([row.end, row.end], [index, index + 1], color=PALETTE["muted"], linewidth=0.7, zorder=1)


def _row(axes: Axes, index: int, row: LedgerRow) -> None:
    end = row.kind in ("logged", "evaluated")
    across = axes.get_yaxis_transform()
    weight = "bold" if end else "normal"
    inch = 1 / (WIDTH - _LEFT - _RIGHT)
    axes.text(-_AMOUNT * inch, index, shorten(row.label, 22), transform=across, ha="right", va="center", weight=weight)
    axes.text(1 + _AMOUNT * inch, index, row.text, transform=across, ha="left", va="center", weight=weight)
    if row.has_range:
        spread = RANGE.say(low=row.low_text, high=row.high_text)
        axes.text(1 + _RANGE * inch, index, spread, transform=across, ha="left", va="center", size=7.5,
                  color=PALETTE["muted"])  # fmt: skip
    if end:
        if _drawable(row.start):
            colour = PALETTE["logged" if row.kind == "logged" else "again"]
            marker = "o" if row.kind == "logged" else "D"
            axes.plot([row.start], [index], marker, color=colour, markersize=7, zorder=4, clip_on=False)
        else:
            _not_finite(axes, index, row)
        return
    if not (_drawable(row.start) and _drawable(row.end)):
        _not_finite(axes, index, row)
        return
    if row.kind == "residual":
        axes.barh(
            index, row.amount, left=row.start, height=0.5, facecolor="none", edgecolor=PALETTE["muted"], linewidth=0.8
        )
        return
    # A filled bar rises, an open one falls: told apart without colour.
    rise = row.amount >= 0
    axes.barh(
        index,
        row.amount,
        left=row.start,
        height=0.56,
        facecolor=PALETTE["tie"] if rise else PALETTE["paper"],
        edgecolor=PALETTE["logged"],
        linewidth=0.9,
        zorder=2,
    )
    if row.has_range and _drawable(row.low) and _drawable(row.high):
        ends = [row.start + row.low, row.start + row.high]
        axes.plot(ends, [index, index], color=PALETTE["ink"], linewidth=1.0, zorder=3)
        axes.plot(ends, [index, index], "|", color=PALETTE["ink"], markersize=6, markeredgewidth=1.0, zorder=3)


def _not_finite(axes: Axes, index: int, row: LedgerRow) -> None:
    axes.text(
        0.5,
        index,
        NOT_DRAWN.say(value=row.text),
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        color=PALETTE["muted"],
        style="italic",
    )


def _drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < _LARGEST


def _extent(rows: Sequence[LedgerRow]) -> tuple[float, float]:
    values = [row.start for row in rows] + [row.end for row in rows]
    values += [row.start + x for row in rows if row.kind == "factor" for x in (row.low, row.high)]
    finite = [value for value in values if _drawable(value)] or [0.0]
    return min(finite), max(finite)


def _degenerate(rows: Sequence[LedgerRow]) -> bool:
    """Nothing moves by more than rounding: drawn as standing still, not blown up to the full width."""
    low, high = _extent(rows)
    return high - low <= 1e-6 * max(abs(low), abs(high))


def _limits(rows: Sequence[LedgerRow]) -> tuple[float, float]:
    low, high = _extent(rows)
    if not _degenerate(rows):
        return low, high
    half = 1e-3 * max(abs(low), abs(high)) or 0.5
    middle = low / 2 + high / 2
    return middle - half, middle + half
