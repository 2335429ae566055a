"""Notes on TensorFlow in which order a fit goes over arrays: the permutation that Keras's pipeline draws of all rows,
once for each time."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diagnose.frameworks.keras.array_data import array_data, iterate_through
from diagnose.frameworks.keras.tensorflow_arrays import noted, rows_of
from diagnose.frameworks.keras.tensorflow_tools import drawn_from
from diagnose.record.array_source import ArraySource
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import DTYPES, NDArray
from diagnose.tracefile.rows import leaves_of


def tap(epoch_iterator: Any, view: Callable[[Any], NDArray]) -> ArraySource | None:
    """A source for a `TFEpochIterator` over arrays that has not begun; None for any other, and where Keras's pipeline
    is another than known.

    Args:
        view: gives a tensor as an array that shares its memory.
    """
    data, dataset = array_data(epoch_iterator), drawn_from(epoch_iterator)
    if data is None or not isinstance(dataset, tf.data.Dataset):
        return None
    tensors = rows_of(dataset)
    if tensors is None:
        return None
    tree = tf.nest.map_structure(view, tensors)
    leaves: list[NDArray] = tf.nest.flatten(tree)
    if any(leaf.dtype.name not in DTYPES or len(leaf) != data.rows for leaf in leaves):
        return None
    # TensorFlow keeps `note` for good (`py_function` hangs it on the outermost graph): it holds nothing of a fit.
    known: list[weakref.ref[ArraySource]] = []

    def note(order: Any) -> None:
        source = known[0]() if known else None
        try:
            if source is not None:
                source.note(np.asarray(view(order)))
        except Exception as error:  # raised here it would end the user's pipeline
            let_through(error)

    through = noted(dataset, note) if data.shuffled else dataset
    if through is None or through.element_spec != dataset.element_spec:
        return None
    # Keras copied NumPy arrays when it made its tensors, so a callback that writes into them changes nothing here.
    given = [array for array in leaves_of(data.inputs) if isinstance(array, np.ndarray)]
    changing = any(np.may_share_memory(leaf, array) for leaf in leaves for array in given)
    source = ArraySource(epoch_iterator, data, tree, changing=changing)
    known.append(weakref.ref(source))
    reference = known[0]

    def drawn(_: Any) -> Any:
        found = reference()
        if found is not None:
            found.anew()
        return through

    iterate_through(epoch_iterator, drawn)
    return source
