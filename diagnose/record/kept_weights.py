"""Weights that a callback of the user's keeps, in its attributes or in names its functions use, by digest. Reads
only."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from diagnose.frameworks.keras.contents import numpy_of
from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.record.outside import taken_from_outside
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import Json

MOST: Final = 16
"""Sets of weights looked at in one fit: each is hashed."""
MOST_NODES: Final = 4096
DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something stands: a name for people, and as an expression."""

    name: str
    code: str

    def part(self, key: Any) -> _Place:
        return _Place(f"{self.name}[{key!r:.40}]", f"{self.code}[{key!r:.40}]")


def kept_weights(callbacks: Sequence[Any], model: Any) -> list[dict[str, Json]]:
    """One entry for each place that holds one set of arrays of the model's shapes: as `get_weights` returns them or the
    trainable ones alone, in a row, by layer or by variable, however deep in dicts and lists, or as another model.
    Several sets in one list or dict are notes, not weights to go back to."""
    try:
        return list(_Search(model).found(callbacks))[:MOST]
    except Exception as error:  # what stands in the attributes is the user's
        let_through(error)
        return []


class _Search:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.weights, trainable = list(model.weights), list(model.trainable_weights)
        self.trained = {id(v) for v in trainable}
        self.shapes = [[tuple(v.shape) for v in group] for group in (self.weights, trainable)]
        self.nodes = 0

    def found(self, callbacks: Sequence[Any]) -> Iterator[dict[str, Json]]:
        seen = 0
        for place, cb in enumerate(callbacks):
            if by_keras(type(cb)) and not isinstance(cb, keras.callbacks.LambdaCallback):
                continue
            for at, value in _named(cb):
                for where, arrays in self._sets(at, value, DEPTH):
                    if seen >= MOST:
                        return
                    seen += 1
                    yield {"callback": type(cb).__name__, "place": place, **self._entry(where, arrays)}

    def _entry(self, where: _Place, arrays: Sequence[Any]) -> dict[str, Json]:
        whole = [tuple(a.shape) for a in arrays] == self.shapes[0]
        group = self.weights if whole else [v for v in self.weights if id(v) in self.trained]
        digests = [array_digest(numpy_of(a)) for a in arrays]
        pairs = list(zip(group, digests, strict=True))
        others = [d for v, d in pairs if id(v) not in self.trained]
        return {
            "attribute": where.name[:200],
            "arrays": where.code[:400],
            "trainable": group_digest(d for v, d in pairs if id(v) in self.trained).hex(),
            "non_trainable": group_digest(others).hex() if whole else None,
        }

    def _sets(self, at: _Place, value: Any, depth: int) -> list[tuple[_Place, Sequence[Any]]]:
        if isinstance(value, keras.Model):
            held = [] if value is self.model or not value.built else list(value.weights)
            return [(_Place(at.name, f"{at.code}.get_weights()"), held)] if self._fits(held) else []
        parts = _parts(value)
        self.nodes += bool(parts)
        if not parts or depth == 0 or self.nodes > MOST_NODES:
            return []
        if self._fits([x for _, x in parts]):
            code = f"list({at.code}.values())" if isinstance(value, Mapping) else at.code
            return [(_Place(at.name, code), [x for _, x in parts])]
        inner = [self._sets(at.part(key), x, depth - 1) for key, x in parts]
        found = [each for each in inner if each]
        if found:
            return found[0] if len(found) == 1 else []
        rows = [[x for _, x in _parts(part)] for _, part in parts]
        flat = [x for row in rows for x in row]
        if self._fits(flat):
            outer = f"{at.code}.values()" if isinstance(value, Mapping) else at.code
            inner_code = "part.values()" if any(isinstance(part, Mapping) for _, part in parts) else "part"
            return [(_Place(at.name, f"[array for part in {outer} for array in {inner_code}]"), flat)]
        return []

    def _fits(self, arrays: Sequence[Any]) -> bool:
        if not arrays or len(arrays) not in map(len, self.shapes) or not all(map(_is_array, arrays)):
            return False
        return [tuple(a.shape) for a in arrays] in self.shapes


def _named(cb: Any) -> Iterator[tuple[_Place, Any]]:
    """What a callback holds, and what its functions take from outside."""
    held = dict(getattr(cb, "__dict__", {}))
    functions = [f for f in held.values() if inspect.isroutine(f)]
    for cls in type(cb).__mro__:
        functions += [] if by_keras(cls) or cls is object else [f for f in vars(cls).values() if inspect.isfunction(f)]
    for name, value in held.items():
        yield _Place(name, f"self.{name}"), value
    taken: dict[str, Any] = {}
    for function in functions:
        taken.update((n, v) for n, v in taken_from_outside(function) if isinstance(v, (dict, list, keras.Model)))
    for name, value in taken.items():
        yield _Place(name, name), value


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())[:MOST_NODES]
    return list(enumerate(value[:MOST_NODES])) if isinstance(value, (list, tuple)) else []


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, keras.Variable)) or keras.ops.is_tensor(value)
