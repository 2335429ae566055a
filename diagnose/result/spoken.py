"""What JSON carries of sentences beside their English, and makes sentences of again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from diagnose.result.texts import Said, is_english

_DEEPEST: Final = 8
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Spoken:
    """A frozen dataclass whose texts may be `Said`, with a field `texts` that holds their ids and parameters by the
    name of the field, as plain values: what JSON carries beside the English, and makes `Said` again when it is read."""

    __slots__ = ()
    texts: Mapping[str, Any]

    def __post_init__(self) -> None:
        kept: dict[str, Any] = {}
        for name in self.__dataclass_fields__:  # type: ignore[attr-defined]
            if name != "texts":
                value = getattr(self, name)
                again, entry = _known(value, self.texts.get(name))
                if entry is not None:
                    kept[name] = entry
                    object.__setattr__(self, name, again)
        object.__setattr__(self, "texts", kept)


def _known(value: Any, known: Any) -> tuple[Any, Any]:
    """A field's value with its texts as `Said`, where that is known of them, and the same as plain values, None where
    it holds none."""
    entry: Any
    if isinstance(value, Mapping):
        told = known if isinstance(known, Mapping) else {}
        found = {name: _again(item, told.get(name)) for name, item in value.items()}
        entry = {str(name): text for name, item in found.items() if (text := plain(item)) is not None}
        return found, entry or None
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        listed = known if isinstance(known, (list, tuple)) and len(known) == len(value) else [None] * len(value)
        items = tuple(_again(item, one) for item, one in zip(value, listed, strict=True))
        entry = [plain(item) for item in items]
        return items, entry if any(entry) else None
    again = _again(value, known)
    return again, plain(again)


def _again(value: Any, known: Any) -> Any:
    """A text as `Said`, where this is known of it."""
    if not isinstance(value, str) or isinstance(value, Said):
        return value
    found = _restored(value, known, 0)
    # Somebody may have put another text into the field.
    return value if isinstance(found, Said) and not is_english(found) else found


def _restored(value: str, known: Any, depth: int) -> str:
    if (
        not isinstance(known, Mapping)
        or not isinstance(known.get("id"), str)
        or not isinstance(known.get("params"), Mapping)
        or depth > _DEEPEST
    ):
        return value
    return Said(value, known["id"], {str(k): _parameter(v, depth + 1) for k, v in known["params"].items()})


def _parameter(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _restored(str(value.get("english", "")), value, depth)
    if isinstance(value, (list, tuple)):
        return [_parameter(x, depth + 1) for x in value] if depth <= _DEEPEST else []
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def plain(text: Any) -> dict[str, Any] | None:
    """`{"id": …, "params": …}` of what was `Said`; None for any other. What was said inside of it has its `english`
    beside these."""
    if not isinstance(text, Said):
        return None
    return {"id": text.id, "params": {name: _plain(value) for name, value in text.params.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Said):
        return {"english": str(value), **(plain(value) or {})}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value.item() if hasattr(value, "item") else str(value)  # a number of NumPy's
