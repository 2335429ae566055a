"""JSON text as a trace holds it: lossless for non-finite floats, no failure on odd values, bounded when read."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from diagnose.tracefile.format import MAX_JSON_BYTES, MAX_JSON_DEPTH
from diagnose.tracefile.model import Json

MAX_DEPTH = 64
MAX_REPR = 500
MAX_ITEMS = 100_000
MAX_INT_CHARS = 160
"""A writer describes integers of more than 512 bits, which have 155 digits."""
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"')
"""Possessive: what can be given back is remembered for each character, which takes a hundred times the text."""
_BRACKET = bytes(b for b in range(256) if b not in b"[]{}")
_NON_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def to_json(value: Any) -> str:
    """ASCII JSON text of `value`. Non-finite floats become {"$float": "nan" | "inf" | "-inf"}; NumPy scalars and
    arrays, and anything
    that converts to a number, become numbers; what JSON cannot hold becomes its `repr`, at most 500 characters."""
    return json.dumps(plain(value), allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Json:
    """The value of a JSON text written by `to_json`. Raises ValueError if it is not one or is over the limits."""
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"a JSON text of {len(text)} characters is over the limit of {MAX_JSON_BYTES}")
    if _brackets(text) > MAX_JSON_DEPTH and _depth(text) > MAX_JSON_DEPTH:
        raise ValueError("a JSON text is nested too deeply")
    return json.loads(text, object_hook=_decode_object, parse_constant=_refuse_constant, parse_int=_int)


def json_cost(text: str) -> int:
    """The most bytes of memory that the value of a JSON text can take, estimated from the text alone: a list is large
    for the two characters it takes."""
    return len(text) + 90 * _brackets(text) + 56 * text.count(",")


def _brackets(text: str) -> int:
    return text.count("[") + text.count("{")


def _depth(text: str) -> int:
    """How deeply a JSON text is nested; any number for a text that is no JSON."""
    brackets = np.frombuffer(_STRING.sub("", text).encode("ascii", "replace").translate(None, _BRACKET), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1), dtype=np.int32).max(initial=0))


def _int(digits: str) -> int:
    if len(digits) > MAX_INT_CHARS:
        raise ValueError("a JSON text holds an integer of too many digits")
    return int(digits)


def plain(value: Any, depth: int = 0) -> Json:
    """`value` made of None, bool, int, float, str, list and dict only, non-finite floats encoded."""
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, np.integer)):
        number = int(value)
        return number if number.bit_length() <= 512 else _described(value)
    if isinstance(value, (float, np.floating)):
        return _encode_float(float(value))
    if depth >= MAX_DEPTH:
        return _described(value)
    if isinstance(value, Mapping):
        return {_key(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, np.ndarray) and value.ndim and value.size <= MAX_ITEMS and value.dtype.kind in "biuf":
        return plain(value.tolist(), depth + 1)
    return _number_or_described(value)


def _number_or_described(value: Any) -> Json:
    for convert in (operator.index, float):
        if hasattr(type(value), "__index__" if convert is operator.index else "__float__"):
            try:
                return plain(convert(value), MAX_DEPTH)
            except Exception:
                continue
    return _described(value)


def _described(value: Any) -> str:
    try:
        text = hex(value) if isinstance(value, int) and value.bit_length() > 512 else repr(value)
    except Exception:
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= MAX_REPR else text[: MAX_REPR - 1] + "…"


def _key(key: Any) -> str:
    text = key if type(key) is str else _described(key)
    if isinstance(key, str):
        text = str.__str__(key)
    # "$" starts our own encodings, so a caller's key that starts with it is escaped by doubling.
    return "$" + text if text.startswith("$") else text


def _encode_float(value: float) -> Json:
    if value != value:
        return {"$float": "nan"}
    if value in (float("inf"), float("-inf")):
        return {"$float": "inf" if value > 0 else "-inf"}
    return value


def _decode_object(found: dict[str, Json]) -> Json:
    if not any(key.startswith("$") for key in found):
        return found
    special = found.get("$float")
    if len(found) == 1 and isinstance(special, str) and special in _NON_FINITE:
        return _NON_FINITE[special]
    if not all(key.startswith("$$") for key in found if key.startswith("$")):
        raise ValueError("a JSON object has an unknown '$' key")
    return {key[1:] if key.startswith("$$") else key: value for key, value in found.items()}


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"a JSON text holds the constant {name}")
