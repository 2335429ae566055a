"""What a fit hands over, made to fit the types a trace is read with: whatever it is, the trace can be read. Knows no
file."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from diagnose.tracefile.model import Json

_MOST_LEFT_OUT = 100
_STEP = re.compile(r"\.([^.\[`]+)|\[(\d+|\.\.\.)\]")


def fitting(value: Json, kind: Any) -> Json:
    """A JSON value without what its type refuses, so that whatever a fit hands over, its trace can be read: each time
    the key that is wrong. None where that would leave out what must be there."""
    for _ in range(_MOST_LEFT_OUT):
        try:
            msgspec.convert(value, kind)
            return value
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(" - at `$")
            if "missing required field" in what or not _left_out(value, _STEP.findall(place)):
                return None
        except RecursionError:
            return None
    return None


def _left_out(value: Json, steps: list[tuple[str, str]]) -> bool:
    """Takes the innermost key with a name out of `value`. Whether there was one."""
    found = None
    for key, index in steps:
        if key and isinstance(value, dict):
            found, value = (value, key), value.get(key)
        elif index.isdigit() and isinstance(value, list):
            value = value[int(index)]
        else:
            break  # a key that the error does not name: all of it goes
    if found is None:
        return False
    found[0].pop(found[1], None)
    return True
