"""Free text of findings made ready for a page: paragraphs, inline code, fenced code. Escapes nothing; the templates
do."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diagnose.report.evidence_names import evidence_name
from diagnose.result.text import compact, exact, number, printable, shorten, spell
from diagnose.result.texts import Text, say

NONE = Text("value.none", "none")
YES_NO = Text("value.yes-no", "{value:given(yes|no)}")
IN_ALL = Text("value.in-all", "{shown}, … ({count} in all)")

_FENCE = re.compile(r"```(?:[\w+-]*[ \t]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LONGEST_VALUE = 400
_MOST_ITEMS = 12


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text inside a paragraph."""

    text: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph of `pieces`, or a block of code whose only piece is its text."""

    kind: Literal["text", "code"]
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value as shown; `exact` is the full precision, empty where it says nothing new."""

    name: str
    text: str
    exact: str = ""


def blocks(text: str) -> tuple[Block, ...]:
    """`text` split at ``` fences and blank lines. A fence that is never closed holds the rest."""
    found: list[Block] = []
    position = 0
    for match in _FENCE.finditer(text):
        found += _paragraphs(text[position : match.start()])
        code = textwrap.dedent(match.group(1)).strip("\n").rstrip()
        if code:
            found.append(Block("code", (Piece(code, code=True),)))
        position = match.end()
    return tuple(found + _paragraphs(text[position:]))


def inline(text: str) -> tuple[Piece, ...]:
    """`text` split at single backticks."""
    pieces: list[Piece] = []
    position = 0
    for match in _INLINE.finditer(text):
        if match.start() > position:
            pieces.append(Piece(text[position : match.start()]))
        pieces.append(Piece(match.group(1), code=True))
        position = match.end()
    if position < len(text):
        pieces.append(Piece(text[position:]))
    return tuple(pieces)


def facts(values: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Evidence as names and values. Numbers are spelled together, so that two different ones look different."""
    floats = [value for value in values.values() if isinstance(value, float)]
    spelled = dict(zip(map(repr, floats), spell(floats), strict=True))
    return tuple(
        Fact(evidence_name(name), _short(value, spelled[repr(value)]), exact(value))
        if isinstance(value, float)
        else Fact(evidence_name(name), shorten(_value(value), _LONGEST_VALUE))
        for name, value in values.items()
    )


def _short(value: float, spelled: str) -> str:
    """`1` for 1.0: trailing zeros go where they stand for nothing that was rounded away."""
    text = compact(value)
    return text if math.isfinite(value) and float(text) == value else spelled


def _paragraphs(text: str) -> list[Block]:
    return [Block("text", inline(part.strip())) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _value(value: Any) -> str:
    if value is None:
        return NONE.say()
    if isinstance(value, bool):
        return YES_NO.say(value=value)
    if isinstance(value, int):
        return f"{value}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return printable(say(value))
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_value(item) for item in value[:_MOST_ITEMS])
        return IN_ALL.say(shown=shown, count=len(value)) if len(value) > _MOST_ITEMS else shown
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)}: {_value(item)}" for key, item in list(value.items())[:_MOST_ITEMS])
    return printable(json.dumps(value, default=str))
