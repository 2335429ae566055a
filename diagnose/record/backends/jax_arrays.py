"""Notes on JAX in which order a fit goes over arrays: the permutation that Keras's generator of batches draws of all
rows, once for each time."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import keras

from diagnose.frameworks.keras.array_data import array_data, iterate_through, jax_batches_through, permutation_of
from diagnose.record.array_source import ArraySource, shared
from diagnose.record.handlers import let_through


def tap(epoch_iterator: Any) -> ArraySource | None:
    """A source for a `JAXEpochIterator` over arrays that has not begun; None for any other."""
    data = array_data(epoch_iterator)
    if data is None or keras.distribution.distribution() is not None:
        return None
    try:
        tree = shared(data.inputs)
    except TypeError:
        return None
    source = ArraySource(epoch_iterator, data, tree, changing=True)
    reference = weakref.ref(source)

    def looked_at(batches: Any) -> Iterator[Any]:
        for first in batches:
            found = reference()
            if found is not None:
                try:
                    found.note(permutation_of(batches))
                except Exception as error:  # raised here it would end the user's fit
                    let_through(error)
            yield first
            break
        yield from batches

    def drawn(batches: Any) -> Any:
        found = reference()
        if found is not None:
            found.anew()
        return batches

    if data.shuffled:
        jax_batches_through(epoch_iterator, looked_at)
    iterate_through(epoch_iterator, drawn)
    return source
