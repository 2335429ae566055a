"""Takes the batches of a tf.data pipeline where they are drawn, so that Keras runs its own train function on its own
iterator. `tf.random` operations without a seed keep their state in the function they are run in: in another one, were
it only wrapped around Keras's, they would draw other numbers."""

from __future__ import annotations

import functools
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import (
    draw_through,
    drawn_from,
    is_spec_of_none,
    runs_ahead_at_its_end,
)
from diagnose.record.backends.base import Source
from diagnose.record.handlers import let_through


class DatasetSource(Source):
    """An identity map in front of the iterator, with a side effect: each element that is drawn is noted. The element
    spec stays the same, so Keras compiles what it would have compiled.

    Nothing runs ahead of the map, so what was noted during one execution is what that execution took.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._drawn: deque[Any] = deque()
        self._error: Exception | None = None
        self._tapped: tuple[Any, Any] | None = None

    def tapped(self, dataset: Any) -> Any:
        """`dataset` with the map behind it, or as it is where that cannot be. The same one for the same dataset: it is
        traced once. Called by Keras in the middle of a fit, so nothing is raised here."""
        if self._tapped is None or self._tapped[0] is not dataset:
            try:
                self._tapped = dataset, self._with_map(dataset)
            except Exception as error:
                let_through(error)
                self._error, self._tapped = error, (dataset, dataset)
        return self._tapped[1]

    def clear(self) -> None:
        self._drawn.clear()

    def take(self) -> list[Any]:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return [self._drawn.popleft() for _ in range(len(self._drawn))]

    def _note(self, packed: Callable[[Any], Any], tensors: Any) -> None:
        try:
            if self._wanted():
                self._drawn.append(packed(tensors))
        except Exception as error:  # raised here it would end the user's pipeline
            self._error = error

    def _with_map(self, dataset: Any) -> Any:
        spec = dataset.element_spec
        packed = _packer(spec)
        several = type(spec) is tuple  # such elements reach a map as several arguments
        # TensorFlow keeps `note` for good (`py_function` hangs it on the outermost graph): it holds nothing of a fit.
        reference = weakref.ref(self)

        def note(*tensors: Any) -> None:
            source = reference()
            if source is not None:
                source._note(packed, tensors)

        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator, unused-ignore]
        def tap(*data: Any) -> Any:
            parts = [part for leaf in tf.nest.flatten(data) if is_noted(leaf) for part in _components(leaf)]
            with tf.control_dependencies([tf.py_function(note, parts, [])]):
                return data if several else data[0]

        if runs_ahead_at_its_end(dataset):  # then in front of the map, where the pipeline ends
            dataset = dataset.prefetch(tf.data.AUTOTUNE)
        tapped = dataset.map(tap)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        tapped = tapped.with_options(options)
        return tapped if tapped.element_spec == spec else dataset


def tap(epoch_iterator: Any, wanted: Callable[[], bool]) -> DatasetSource | None:
    """Sets a source on a `TFEpochIterator` that has not begun to iterate. None where its data cannot be tapped: what is
    distributed to several replicas or workers is drawn by each of them.
    """
    if not isinstance(drawn_from(epoch_iterator), tf.data.Dataset):
        return None
    source = DatasetSource(wanted)
    draw_through(epoch_iterator, source.tapped)
    return source


def is_noted(leaf: Any) -> bool:
    """Whether there is something at this place of an element, or of its spec: not None, nor an empty Optional."""
    absent = leaf is None or is_spec_of_none(leaf)
    return not absent and not isinstance(leaf, (tf.experimental.Optional, tf.OptionalSpec))


def _components(leaf: Any) -> list[Any]:
    found: list[Any] = tf.nest.flatten(leaf, expand_composites=True)
    return found


def _packer(spec: Any) -> Callable[[Any], Any]:
    """Makes elements of this spec again from their noted tensors."""
    if type(spec) is tuple and all(type(leaf) is tf.TensorSpec for leaf in spec):
        return tuple  # as nearly all are
    return functools.partial(_packed, spec)


def _packed(spec: Any, tensors: Any) -> Any:
    """An element again, from its noted tensors; None for what is `None` or an empty Optional, as Keras takes it."""
    rest = iter(tensors)

    def leaf(own: Any) -> Any:
        if not is_noted(own):
            return None
        return tf.nest.pack_sequence_as(own, [next(rest) for _ in _components(own)], expand_composites=True)

    return tf.nest.pack_sequence_as(spec, [leaf(own) for own in tf.nest.flatten(spec)])
