"""Which rows a fit trained on, for the fits that go on from its weights. Knows digests only, and so many that it never
takes much memory. On the background thread."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diagnose.tracefile.model import Digest

MOST_ROWS: Final = 1 << 18
"""Rows that are remembered of a fit and of those that it goes on from, 12 bytes each; later ones are not."""

Keys = npt.NDArray[np.uint64]
_NEVER: Final = 2**32 - 1
_MOST_WAITING: Final = 64


@dataclass(frozen=True, slots=True)
class Trained:
    """Rows that weights were trained on: sorted keys, the first bytes of digests, and the epoch of the last fit in
    which each was used first (0: in an earlier fit)."""

    keys: Keys
    epochs: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, keys: npt.NDArray[Any], epochs: npt.NDArray[Any]) -> Trained:
        """Each row once, with its first epoch."""
        order = np.lexsort((epochs, keys))
        distinct, first = np.unique(keys[order], return_index=True)
        return cls(distinct.astype(np.uint64)[:MOST_ROWS], epochs[order][first].astype(np.uint32)[:MOST_ROWS])

    def until(self, epoch: int) -> Trained:
        """What the weights at the end of an epoch were trained on; all of it is of an earlier fit from here on."""
        kept = self.epochs <= epoch
        return Trained(self.keys[kept], np.zeros(int(kept.sum()), np.uint32))

    def holds(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which of these are among its own."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.asarray(self.keys[places] == keys)

    def count(self, digests: Sequence[Digest]) -> int:
        """How many of these rows are among them."""
        return int(self.holds(_keys_of(digests)).sum())


def _keys_of(digests: Sequence[Digest]) -> Keys:
    return np.frombuffer(b"".join(digest[:8] for digest in digests), "<u8").astype(np.uint64)


NOTHING: Final = Trained(np.empty(0, np.uint64), np.empty(0, np.uint32))


class TrainedRows:
    """The rows of one fit, by id: their keys, and in which epoch each was trained on first."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._epochs = array("I")
        self._before = array("B")
        self._epoch = 0
        self._waiting: list[npt.NDArray[np.int64]] = []
        self.earlier = NOTHING
        """What the weights this fit began with were trained on."""

    def begin(self, earlier: Trained) -> None:
        """To be called before the first row is added."""
        self.earlier = earlier

    def added(self, digests: Sequence[Digest]) -> None:
        """New rows; their ids follow those added before."""
        taken = digests[: MOST_ROWS - len(self._keys)]
        keys = _keys_of(taken)
        self._keys.frombytes(keys.tobytes())
        self._epochs.frombytes(np.full(len(keys), _NEVER, np.uint32).tobytes())
        self._before.frombytes(self.earlier.holds(keys).tobytes())

    def trained(self, ids: npt.NDArray[np.int64], epoch: int) -> None:
        """These rows were in a train step of this epoch."""
        if epoch != self._epoch or len(self._waiting) >= _MOST_WAITING:
            self._take_in()
        self._epoch = epoch
        self._waiting.append(ids)

    def _take_in(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(self._epochs) and waiting:
            ids = np.concatenate(waiting)
            epochs = np.frombuffer(self._epochs, np.uint32)
            known = ids[(ids >= 0) & (ids < len(epochs))]
            epochs[known] = np.minimum(epochs[known], self._epoch)

    def before(self, ids: Iterable[npt.NDArray[np.int64]]) -> int:
        """How many of these rows the weights this fit began with were trained on."""
        if not len(self.earlier.keys) or not len(self._before):
            return 0
        flags = np.frombuffer(self._before, np.uint8)
        return sum(int(flags[part[(part >= 0) & (part < len(flags))]].sum()) for part in ids)

    def now(self) -> Trained:
        """What the weights are trained on by now."""
        self._take_in()
        keys, epochs = np.array(self._keys, np.uint64), np.array(self._epochs, np.uint32)
        used = epochs != _NEVER
        return Trained.of(
            np.concatenate([self.earlier.keys, keys[used]]), np.concatenate([self.earlier.epochs, epochs[used]])
        )
