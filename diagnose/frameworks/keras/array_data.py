"""A fit on arrays: what Keras's adapter of them holds, and how far Keras is in going over it
(`keras/src/trainers/data_adapters/array_data_adapter.py`, `keras/src/trainers/epoch_iterator.py`)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ArrayData:
    """The arrays of a fit, as its adapter holds them."""

    inputs: Any
    """x alone, or a tuple of x, y and sample weights: trees of arrays, None where there are none."""
    rows: int
    batch_size: int
    shuffled: bool
    """Whether one permutation of all rows is drawn for each time Keras goes over them; else they come as they lie."""

    @property
    def batches(self) -> int:
        return -(-self.rows // self.batch_size)


def array_data(epoch_iterator: Any) -> ArrayData | None:
    """What an epoch iterator of Keras's goes over; None for anything but arrays, and where rows are shuffled inside
    each batch: these draws are as many as the batches."""
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    adapter: Any = getattr(epoch_iterator, "data_adapter", None)
    if type(adapter) is not ArrayDataAdapter or isinstance(adapter._shuffle, str):
        return None
    return ArrayData(adapter._inputs, int(adapter._num_samples), int(adapter._batch_size), bool(adapter._shuffle))


class Progress:
    """Counts the executions that Keras begins in an epoch, by the generator it takes them from.

    Args:
        epoch_iterator: one that has not begun.
        on_first: called before the first execution of each epoch.
    """

    def __init__(self, epoch_iterator: Any, on_first: Callable[[], None]) -> None:
        self.begun = 0
        """Executions since this was set to 0 last."""
        self.steps_per_execution: int = epoch_iterator.steps_per_execution
        itself, inner = weakref.ref(epoch_iterator), type(epoch_iterator)._enumerate_iterator

        def enumerated() -> Iterator[Any]:
            for execution in inner(itself()):
                if not self.begun:
                    on_first()
                self.begun += 1
                yield execution

        epoch_iterator._enumerate_iterator = enumerated


def iterate_through(epoch_iterator: Any, through: Callable[[Any], Any]) -> None:
    """Has `through` make what Keras goes over of each iterator or data set that the adapter gives it."""
    itself, inner = weakref.ref(epoch_iterator), type(epoch_iterator)._get_iterator
    epoch_iterator._get_iterator = lambda: through(inner(itself()))


def jax_batches_through(epoch_iterator: Any, through: Callable[[Any], Any]) -> None:
    """Has `through` make what a `JAXEpochIterator` goes over of the generator of batches that its adapter gives it."""
    adapter = epoch_iterator.data_adapter
    itself, inner = weakref.ref(adapter), type(adapter).get_jax_iterator
    adapter.get_jax_iterator = lambda: through(inner(itself()))


def permutation_of(batches: Any) -> Any:
    """What a generator of batches (`ArrayDataAdapter._get_iterator`), which has given one at least and not the last,
    drew for all of them."""
    return batches.gi_frame.f_locals["global_permutation"]
