"""In which order the rows of a fit lie in the arrays it was given: `fit` shuffles them, `evaluate` does not. Copies
nothing on the training thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from diagnose.record.handlers import let_through
from diagnose.record.items import OrderItem
from diagnose.record.live import MOST_HELD, is_arrays, nbytes
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import Digest, Leaf, NDArray
from diagnose.tracefile.rows import as_recorded_leaves, leaves_of, pack_rows

PART_BYTES: Final = 16 << 20
"""Arrays are gone through in parts of about this size."""


class RowOrder:
    """The arrays of x and y that a fit was given, until the order of their rows is noted.

    Args:
        arrays: None where there is nothing to note.
        known_by_now: whether the first epoch goes over all of their rows.
    """

    def __init__(self, arrays: list[Any] | None = None, *, known_by_now: bool = False) -> None:
        self._arrays = arrays
        self.known_by_now = known_by_now

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """From the local variables of `fit`: nothing where its data is something else than arrays, or very much."""
        trees = [arguments.get("x"), arguments.get("y")]
        if trees[0] is None or not all(map(is_arrays, trees)) or sum(map(nbytes, trees)) > MOST_HELD:
            return cls()
        arrays = [leaf for tree in trees for leaf in leaves_of(tree)]
        return cls(arrays, known_by_now=arguments.get("steps_per_epoch") is None)

    def note(self, put: Callable[[OrderItem], None]) -> None:
        """Hands the arrays over, once."""
        arrays, self._arrays = self._arrays, None
        if arrays is not None:
            put(OrderItem(arrays))


def row_order(arrays: Sequence[Any], recorded: Sequence[Leaf], known: Mapping[Digest, int]) -> npt.NDArray[np.int64]:
    """The ids of those rows that are known, in the order of the arrays. They are told by their contents, so that arrays
    which were changed during the fit, or which Keras makes others of, have none.

    Args:
        recorded: how rows are recorded, in the order of the arrays.
        known: ids of recorded rows, by digest.
    """
    try:
        leaves = [np.asarray(array) for array in arrays]
    except Exception as error:  # on a device, or of a form that NumPy does not take
        let_through(error)
        return np.empty(0, np.int64)
    rows = {len(leaf) for leaf in leaves if leaf.ndim}
    if len(rows) != 1 or len(leaves) != len(recorded):
        return np.empty(0, np.int64)
    (count,) = rows
    size = max(1, PART_BYTES * max(count, 1) // max(1, sum(leaf.nbytes for leaf in leaves)))
    found = [_known([leaf[i : i + size] for leaf in leaves], recorded, known) for i in range(0, count, size)]
    return np.array([row for part in found for row in part], np.int64)


def _known(leaves: Sequence[NDArray], recorded: Sequence[Leaf], known: Mapping[Digest, int]) -> list[int]:
    fitted = as_recorded_leaves(leaves, recorded)
    if fitted is None:
        return []
    rows = (known.get(digest) for digest in row_digests(pack_rows(fitted)))
    return [row for row in rows if row is not None]
