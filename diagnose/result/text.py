"""How numbers and names are spelled for people. Two different numbers shown side by side never look the same."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence

DIGITS = 5
"""Significant digits shown unless more are needed to tell two numbers apart."""
_MOST_DIGITS = 17  # enough to tell any two float64 apart
MOST_CHARS = 4000
"""Characters of a name or a line that are shown."""
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


def short(value: float | None) -> str:
    """Six significant digits, as sentences have them; "NaN" and "inf" as such; "?" for a value that could not be
    computed."""
    if value is None:
        return "?"
    if math.isnan(value):
        return "NaN"
    return f"{value:.6g}"


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
    """`text` in one line, without control characters, surrogates and direction marks: they could repaint a terminal.
    Of a very long one, the beginning."""
    whole = str(text)
    return "".join(map(_printable, whole[:MOST_CHARS])) + ("…" if len(whole) > MOST_CHARS else "")


_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""Control characters, direction marks, other marks without a shape, and halves of surrogate pairs."""


def visible(text: str, keep: str = "") -> str:
    """`text` with escapes in place of characters that a terminal would act on rather than show, but for those in
    `keep`."""
    return _UNSEEN.sub(lambda found: found.group() if found.group() in keep else ascii(found.group())[1:-1], text)


def visible_json(text: str) -> str:
    """JSON text, as `json.dumps` makes it, with the same characters as JSON escapes; it reads back as the same."""
    return _UNSEEN.sub(lambda found: _json_escape(found.group()), text)


def _json_escape(c: str) -> str:
    # Line ends stand between values only; `json` leaves DEL as it is.
    return c if c == "\n" else "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1]


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
    text = text[: 4 * columns]  # marks take no column, but are not many
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


def complain(message: object) -> None:
    """Prints one line on standard error, if there is one, whatever text of others the message holds."""
    try:
        print("diagnose:", visible(" ".join(str(message).split())), file=sys.stderr)
    except (OSError, ValueError, AttributeError):
        return  # closed, or nobody reads
