"""Weights that a callback of the user's keeps in one of its attributes, by digest. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import Json

MOST: Final = 16
"""Sets of weights looked at in one fit: each is hashed."""


def kept_weights(callbacks: Sequence[Any], model: Any) -> list[dict[str, Json]]:
    """One entry for each attribute that holds one set of arrays of the model's shapes, as `get_weights` returns them or
    the trainable ones alone. Lists of several sets are notes, not weights to go back to."""
    try:
        return list(_found(callbacks, model))[:MOST]
    except Exception as error:  # what stands in the attributes is the user's
        let_through(error)
        return []


def _found(callbacks: Sequence[Any], model: Any) -> Iterator[dict[str, Json]]:
    weights, trainable = list(model.weights), list(model.trainable_weights)
    of_group = {id(v) for v in trainable}
    seen = 0
    for place, cb in enumerate(callbacks):
        if by_keras(type(cb)):
            continue
        for name, value in list(getattr(cb, "__dict__", {}).items()):
            whole = _holds(value, weights)
            if seen >= MOST or not (whole or _holds(value, trainable)):
                continue
            seen += 1
            known = dict(zip(map(id, weights if whole else trainable), map(array_digest, value), strict=True))
            others = [known[id(v)] for v in weights if id(v) not in of_group] if whole else None
            yield {
                "callback": type(cb).__name__,
                "place": place,
                "attribute": name[:200],
                "trainable": group_digest(known[id(v)] for v in trainable).hex(),
                "non_trainable": None if others is None else group_digest(others).hex(),
            }


def _holds(value: Any, variables: Sequence[Any]) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != len(variables) or not value:
        return False
    pairs = zip(value, variables, strict=True)
    return all(isinstance(a, np.ndarray) and a.shape == tuple(v.shape) for a, v in pairs)
