"""Steps that nobody looks at: which rows they took is told by the source of a fit on arrays. Runs on the training
thread; holds what the background thread needs to know of the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from diagnose.record.array_source import COPIED_BYTES, ArraySource, Places, batch_of, contents
from diagnose.record.batches import TakenBatch
from diagnose.record.live import nbytes
from diagnose.record.taking import Taker
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.rows import as_recorded_leaves, leaves_of, mapped

CHANGED: Final = "the arrays that fit was given were written into since the epoch before it ended"
NOT_NOTED: Final = "the order of its rows was not seen where Keras draws it"


@dataclass(eq=False, slots=True)
class Contents:
    """The arrays of a fit as they were at one time, for the background thread.

    `tree`: in the structure of a batch. `batch`: one that was recorded, by which rows are taken as steps took them.
    `live`: somebody may write into them: they are looked at before and after rows are taken.
    """

    tree: Any
    batch: TakenBatch
    live: bool
    digest: Digest | None = None
    """Of what was copied; None where nothing can change."""

    def rows(self, places: Places) -> TakenBatch | None:
        """The rows of these places as a step took them, without their sample weights; None where they are of another
        kind than the recorded ones."""
        leaves = _leaves(self.tree, places, self.batch)
        return None if leaves is None else replace(self.batch, leaves=leaves, sample_weight=None, rows=len(places))

    def weights(self, places: Places) -> NDArray | None:
        """The sample weights of these places as a step took them; None where there are none."""
        return _weights(self.tree, places, self.batch)


@dataclass(frozen=True, slots=True)
class Placed:
    """A batch by the places of its rows in arrays that nothing changes, int64 of shape (n,)."""

    contents: Contents
    places: Places

    @property
    def rows(self) -> int:
        return len(self.places)


class AtSource:
    """Takes over from the hooks around steps, once a step has shown that the source tells what it took."""

    def __init__(self, source: ArraySource, taker: Taker) -> None:
        self._source = source
        self._taker = taker
        self.on = False
        """Whether steps are not looked at any more."""
        self._contents: Contents | None = None

    def take_over(self, first: Sequence[TakenBatch | Placed | str]) -> bool:
        """After the first execution of a fit, whose batches were recorded. Whether this tells the following ones."""
        self.on = self.learn(first)
        return self.on

    def learn(self, first: Sequence[TakenBatch | Placed | str]) -> bool:
        """Whether the source tells the batches of an execution that was recorded, the first of a fit."""
        for number, real in enumerate(first):
            if isinstance(real, Placed):
                continue  # told by this, once it had learned
            places = self._source.places(number, number + 1)
            if isinstance(real, str) or places is None or not self._tells(places, real):
                return False
            self._contents = self._contents or self._now(real)
        return self._contents is not None

    def placed(self) -> list[Placed] | None:
        """The batches of the execution that was made last, where the arrays cannot change; None where that is not
        known, or no order was seen."""
        known = self._contents
        if known is None or known.live or known.digest is not None:
            return None
        return [Placed(known, places) for places in self._source.taken()] or None

    def _tells(self, places: Places, real: TakenBatch) -> bool:
        """Whether a recorded batch is that of these places, bit for bit."""
        tree = self._source.tree
        told, leaves = self._taker.take(batch_of(tree, places)), _leaves(tree, places, real)
        if isinstance(told, str) or leaves is None or real.weight_tree is not None or real.shares is not None:
            return False
        weights = [w for w in (_weights(tree, places, real),) if w is not None]
        real_weights = [] if real.sample_weight is None else [real.sample_weight]
        alike = (told.signature.structure, told.bare) == (real.signature.structure, real.bare)
        return alike and _same([*leaves, *weights], [*real.leaves, *real_weights])

    def begin_epoch(self) -> None:
        self._source.begin_epoch()

    @property
    def contents(self) -> Contents:
        """The arrays as steps go over them from here on; only where this tells what they take."""
        assert self._contents is not None
        return self._contents

    @property
    def generator(self) -> NDArray | None:
        """See `ArraySource`."""
        return self._source.generator

    @property
    def batch_size(self) -> int:
        return self._source.batch_size

    def steps(self, unfinished: int = 0) -> int:
        """Steps of this epoch by now; the last execution is left out where it may be `unfinished`."""
        return self._source.batches(unfinished)

    def rows(self, first: int, last: int) -> tuple[Contents, Places] | str:
        """Of these steps of the epoch: the arrays and the places in them, or why they are not known."""
        places = self._source.places(first, last)
        if places is None:
            return NOT_NOTED
        return CHANGED if self.look() else (self.contents, places)

    def look(self) -> bool:
        """Whether somebody wrote into the arrays since the last look."""
        known = self._contents
        if known is None or known.digest is None or contents(self._source.tree) == known.digest:
            return False
        self._contents = self._now(known.batch)
        return True

    def _now(self, batch: TakenBatch) -> Contents:
        source = self._source
        if not source.changing or nbytes(source.tree) > COPIED_BYTES:
            return Contents(source.tree, batch, source.changing)
        copied = mapped(source.tree, np.array)
        return Contents(copied, batch, False, contents(copied))


def _leaves(tree: Any, places: Places, like: TakenBatch) -> list[NDArray] | None:
    """The rows of these places, in the dtypes in which a step took others of them."""
    parts = tree if isinstance(tree, tuple) else (tree,)
    return as_recorded_leaves(leaves_of(batch_of(list(parts[:2]), places)), like.signature.leaves)


def _weights(tree: Any, places: Places, like: TakenBatch) -> NDArray | None:
    if not isinstance(tree, tuple) or len(tree) < 3 or tree[2] is None or like.sample_weight is None:
        return None
    found: NDArray = tree[2][places].astype(like.sample_weight.dtype)
    return found


def _same(found: Sequence[NDArray], real: Sequence[NDArray]) -> bool:
    """Bit for bit."""
    return len(found) == len(real) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(found, real, strict=True)
    )
