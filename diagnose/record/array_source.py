"""The rows of a fit on arrays: the order in which Keras goes over them is noted where it draws it, once for each time,
so that nobody has to look at single batches. Runs on the training thread; `note` in any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from diagnose.frameworks.keras.array_data import ArrayData, Progress
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import DTYPES, Digest, NDArray
from diagnose.tracefile.rows import leaves_of, mapped

COPIED_BYTES: Final = 32 << 20
"""Arrays of up to so much, which somebody may write into, are copied once, and looked at after each epoch."""

Places = npt.NDArray[np.int64]


class Draw:
    """One time that Keras goes over the arrays."""

    __slots__ = ("generator", "order", "position", "torn")

    def __init__(self, order: Places | None) -> None:
        self.order = order
        """Places of the rows, once it is drawn."""
        self.position = 0
        """Batches that were taken before this epoch."""
        self.generator: NDArray | None = None
        """The state of the process-wide random generator after the draw, where layers draw from it."""
        self.torn = False
        """An order was noted that cannot be this draw's alone."""


class ArraySource:
    """Which rows the steps of an epoch take, by the draws.

    Args:
        epoch_iterator: one of Keras's that has not begun. Its executions are counted from here on.
        tree: the arrays in the structure of a batch, as NumPy arrays that share the memory Keras gathers rows from.
        changing: whether somebody else can write into that memory.
        noted: whether `note` is called for each draw; by default where rows are shuffled.
        generator: reads the state of the process-wide random generator.
    """

    def __init__(
        self,
        epoch_iterator: Any,
        data: ArrayData,
        tree: Any,
        *,
        changing: bool,
        noted: bool | None = None,
        generator: Callable[[], NDArray | None] = lambda: None,
    ) -> None:
        self.tree = tree
        self.changing = changing
        self._rows = data.rows
        self._size = data.batch_size
        self._batches = data.batches
        self._noted = data.shuffled if noted is None else noted
        self._generator = generator
        self._made: Draw | None = None
        self._used: Draw | None = None
        self._taken = 0
        self.progress = Progress(epoch_iterator, self._first)

    # ── told by Keras's iteration, in the middle of a fit: nothing is raised here ──

    def anew(self) -> None:
        """Keras made a new iterator over all rows; it may never use it."""
        self._made = Draw(None if self._noted else np.arange(self._rows))

    def note(self, order: NDArray) -> None:
        """The iterator that was made last drew its order."""
        draw = self._made
        if draw is None:
            return
        draw.torn = draw.torn or draw.order is not None or order.shape != (self._rows,)
        draw.order, draw.generator = order, self._generator()

    def _first(self) -> None:
        self._used = self._made

    # ── asked by the recorder ──

    def begin_epoch(self) -> None:
        """Before the first execution of an epoch."""
        if self._used is not None:
            self._used.position += self.batches()
        self.progress.begun = self._taken = 0

    def batches(self, unfinished: int = 0) -> int:
        """Batches that the executions of this epoch took; of these, so many of the last are left out."""
        if self._used is None:
            return 0
        taken = max(0, self.progress.begun - unfinished) * self.progress.steps_per_execution
        return min(taken, self._batches - self._used.position)

    def places(self, first: int, last: int) -> Places | None:
        """The rows of the batches `first` up to `last`, without it, of this epoch; None where their order was not
        seen."""
        draw = self._used
        if draw is None or draw.order is None or draw.torn:
            return None
        start, stop = (draw.position + n for n in (first, last))
        return draw.order[start * self._size : stop * self._size]

    @property
    def batch_size(self) -> int:
        return self._size

    @property
    def generator(self) -> NDArray | None:
        """The state of the generator before the first step of this epoch, where the epoch began with a draw."""
        draw = self._used
        return None if draw is None or draw.position else draw.generator

    def clear(self) -> None:
        """What was taken before is another step's."""
        self._taken = self.batches(unfinished=1)

    def taken(self) -> list[Places]:
        """The places of the batches of the execution that was made last; none where their order was not seen."""
        first, self._taken = self._taken, self.batches()
        places = self.places(first, self._taken)
        return [] if places is None else [places[i : i + self._size] for i in range(0, len(places), self._size)]

    def take(self) -> list[Any]:
        """These batches, gathered as Keras gathers them."""
        return [batch_of(self.tree, places) for places in self.taken()]


def batch_of(tree: Any, places: Places) -> Any:
    """The rows of these places, in the structure of a batch."""
    return mapped(tree, lambda array: array[places])


def shared(inputs: Any) -> Any:
    """What an adapter holds, as NumPy arrays that share its memory. Raises TypeError for anything but such arrays, and
    arrays of JAX and torch in the memory of the host."""
    return mapped(inputs, _in_memory)


def _in_memory(array: Any) -> NDArray:
    numpy = isinstance(array, np.ndarray)
    found = array if numpy else array.numpy() if hasattr(array, "numpy") else None
    if found is None or type(found) is not np.ndarray or found.dtype.name not in DTYPES or not found.ndim:
        raise TypeError("no plain array")
    return found


def contents(tree: Any) -> Digest:
    """The digest of all arrays."""
    return group_digest(array_digest(leaf) for leaf in leaves_of(tree))
