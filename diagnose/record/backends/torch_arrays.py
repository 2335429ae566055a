"""Notes on torch in which order a fit goes over arrays: the sampler of Keras's loader makes the whole order when its
first row is asked for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from diagnose.frameworks.keras.array_data import array_data, iterate_through
from diagnose.frameworks.torch_generators import generator_state
from diagnose.record.array_source import ArraySource, shared
from diagnose.record.handlers import let_through


class _Noted:
    """A sampler whose order is noted. It draws all of it where it would have drawn it all the same."""

    def __init__(self, sampler: Any, source: weakref.ref[ArraySource]) -> None:
        self._sampler = sampler
        self._source = source

    def __iter__(self) -> Iterator[int]:
        order = list(self._sampler)
        source = self._source()
        if source is not None:
            try:
                source.note(np.array(order, np.int64))
            except Exception as error:  # raised here it would end the user's fit
                let_through(error)
        yield from order

    def __len__(self) -> int:
        return len(self._sampler)


def tap(epoch_iterator: Any) -> ArraySource | None:
    """A source for a `TorchEpochIterator` over arrays that has not begun; None for any other."""
    data = array_data(epoch_iterator)
    if data is None:
        return None
    try:
        tree = shared(data.inputs)
    except (TypeError, RuntimeError):  # on a device, or with a gradient
        return None
    source = ArraySource(epoch_iterator, data, tree, changing=True, noted=True, generator=generator_state)
    reference = weakref.ref(source)

    def drawn(loader: Any) -> Any:
        found = reference()
        if found is not None:
            found.anew()
            batches = loader.batch_sampler
            if type(batches) is torch.utils.data.BatchSampler:
                batches.sampler = _Noted(batches.sampler, reference)
        return loader

    iterate_through(epoch_iterator, drawn)
    return source
