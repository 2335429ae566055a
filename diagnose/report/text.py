"""How numbers and names are spelled for people. Two different numbers shown side by side never look the same."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence

DIGITS = 5
"""Significant digits shown unless more are needed to tell two numbers apart."""
_MOST_DIGITS = 17  # enough to tell any two float64 apart
ABSENT = "–"
"""What stands for a value that does not exist; a value that is not finite is spelled NaN, inf or -inf."""


def number(value: float | None, digits: int = DIGITS, *, sign: bool = False) -> str:
    """`value` with `digits` significant digits, in plain notation from 0.0001 up to ten million."""
    if value is None:
        return ABSENT
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return ("+inf" if sign else "inf") if value > 0 else "-inf"
    plus = "+" if sign else ""
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e7:
        # Formatting first tells the exponent after rounding: 9.99996 has two digits before the point.
        exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
        return f"{value:{plus}.{max(0, digits - 1 - exponent)}f}"
    return f"{value:{plus}.{digits - 1}e}"


def exact(value: float | None) -> str:
    """All digits: the shortest text that reads back as the same float64."""
    if value is None or not math.isfinite(value):
        return number(value)
    return repr(float(value))


def spell(values: Iterable[float | None], digits: int = DIGITS, *, most: int = _MOST_DIGITS) -> list[str]:
    """All `values` with the same number of significant digits: as few as tell the different ones apart, at most
    `most`."""
    listed = [None if value is None else float(value) for value in values]
    finite = {value for value in listed if value is not None and math.isfinite(value)}
    while digits < most and len({number(value, digits) for value in finite}) < len(finite):
        digits += 1
    return [number(value, digits) for value in listed]


def compact(value: float | None, digits: int = DIGITS, *, sign: bool = False) -> str:
    """Like `number`, without zeros that say nothing: for settings, thresholds and tick labels."""
    text = number(value, digits, sign=sign)
    mantissa, e, exponent = text.partition("e")
    if "." in mantissa and value is not None and math.isfinite(value):
        mantissa = mantissa.rstrip("0").rstrip(".")
    return mantissa + e + exponent


def ticks(values: Sequence[float]) -> list[str]:
    """Tick labels: as short as puts each within a hundredth of the distance between ticks."""
    ordered = sorted(values)
    apart = min((b - a for a, b in itertools.pairwise(ordered)), default=abs(ordered[0]) if ordered else 0.0)
    digits = 1
    while digits < _MOST_DIGITS and any(abs(float(compact(v, digits)) - v) > apart / 100 for v in ordered):
        digits += 1
    return [compact(value, digits) for value in values]


def printable(text: object) -> str:
    """`text` in one line, without control characters, surrogates and direction marks: they could repaint a terminal."""
    return "".join(map(_printable, str(text)))


def _printable(c: str) -> str:
    if c in "\n\r\t" or unicodedata.category(c) in ("Zs", "Zl", "Zp"):
        return " "
    return "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") else c


def width(text: str) -> int:
    """Terminal columns that `text` takes (East Asian wide characters take two, combining marks none)."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, columns: int) -> str:
    """`text`, cut with an ellipsis to at most `columns` terminal columns."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[: max(0, len(text) - max(1, (width(text) - columns + 1) // 2))]
    return text + "…"


def shorten(text: str, length: int) -> str:
    """`text`, cut in its middle to at most `length` terminal columns: names often differ at their ends."""
    if width(text) <= length:
        return text
    head = clip(text, max(2, length * 2 // 3))
    tail = text[-(length - width(head)) :] if length > width(head) else ""
    while tail and width(head) + width(tail) > length:
        tail = tail[1:]
    return head + tail


def span(first: int, last: int) -> str:
    """`5` or `80-95`, with an en dash."""
    return str(first) if first == last else f"{first}–{last}"


def plural(count: int, noun: str) -> str:
    """`1 update`, `3 updates`, with thousands separated."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
