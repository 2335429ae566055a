"""Labels by output, and what form they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from diagnose.tracefile.model import NDArray

SUMS: Final = 1e-2
"""By how much the labels of a row may miss 1 in all."""


def one_hot(labels: Sequence[NDArray], units: int | None) -> bool:
    """Whether each row of labels has a single 1 among three classes or more, else 0, and not always at one place."""
    if units is None or units < 3 or any(part.shape[1:] != (units,) for part in labels):
        return False
    single = all(bool(((part == 1).sum(1) == 1).all() and ((part == 0).sum(1) == units - 1).all()) for part in labels)
    return single and len({int(place) for part in labels for place in part.argmax(1)}) > 1


def not_one_class(labels: Sequence[NDArray]) -> float:
    """The share of rows whose labels, one for each class, name several classes or none, or are no shares of classes."""
    rows = np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in labels])
    return float(((rows < 0).any(axis=1) | (np.abs(rows.sum(axis=1) - 1.0) > SUMS)).mean())


def flat_labels(tree: Any, names: Sequence[str]) -> Iterator[Any]:
    """Labels in the order of the outputs: by output name where a dict has these names, else as given."""
    if isinstance(tree, dict):
        order = names if set(names) == set(tree) else sorted(tree)
        for name in order:
            yield from flat_labels(tree[name], ())
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from flat_labels(value, ())
    else:
        yield tree
