"""The pipeline that Keras makes of arrays for TensorFlow (`ArrayDataAdapter.get_tf_dataset`), with a look at the one
permutation it draws for all rows. All of Keras's own functions stay in it as they were traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import is_spec_of_none


def rows_of(dataset: Any) -> Any | None:
    """The tensors that the rows of Keras's pipeline are gathered from, in the structure of its elements; None where it
    is another pipeline than known, or holds something else than plain numbers."""
    found = _Chain.of(dataset)
    tensors = None if found is None else found.tensors
    if tensors is None or len(tensors) != len(tf.nest.flatten(dataset.element_spec)):
        return None
    for tensor, spec in zip(tensors, tf.nest.flatten(dataset.element_spec), strict=True):
        plain = type(spec) is tf.TensorSpec and not is_spec_of_none(spec) and tensor.dtype == spec.dtype
        if not plain or tensor.dtype == tf.string or list(spec.shape[1:]) != list(tensor.shape[1:]):
            return None
    return tf.nest.pack_sequence_as(dataset.element_spec, tensors)


def noted(dataset: Any, note: Callable[[Any], None]) -> Any | None:
    """The same pipeline, which hands each drawn permutation, int64 of shape (rows,), to `note` in a thread of
    tf.data's; None where it is another pipeline than known."""
    chain = _Chain.of(dataset)
    if chain is None:
        return None

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator, unused-ignore]
    def look(order: Any) -> Any:
        with tf.control_dependencies([tf.py_function(note, [order], [])]):
            return tf.identity(order)

    return chain.over(chain.orders.map(look))


class _Chain:
    """Keras's pipeline: a permutation, cut into batches, zipped with the arrays, of which each batch is gathered."""

    def __init__(self, tail: list[Any], gather: Any, arrays: Any, cut: Any, orders: Any) -> None:
        self.tail = tail
        """What stands behind the gathering, the last first: prefetching and options."""
        self.gather = gather
        self.arrays = arrays
        self.cut = cut
        self.orders = orders
        """The data set of permutations."""

    @classmethod
    def of(cls, dataset: Any) -> _Chain | None:
        tail = []
        while _kind(dataset) in ("_PrefetchDataset", "_OptionsDataset"):
            tail.append(dataset)
            dataset = dataset._input_dataset
        if _kind(dataset) != "_ParallelMapDataset" or _kind(dataset._input_dataset) != "_ZipDataset":
            return None
        parts = dataset._input_dataset._datasets
        if not isinstance(parts, tuple) or [_kind(part) for part in parts] != ["_FlatMapDataset", "_RepeatDataset"]:
            return None
        cut, arrays = parts
        orders, source = cut._input_dataset, arrays._input_dataset
        if _kind(source) != "_TensorDataset" or _kind(orders) != "_PrefetchDataset":
            return None
        return cls(tail, dataset, arrays, cut, orders)

    @property
    def tensors(self) -> list[Any]:
        found: list[Any] = self.arrays._input_dataset._tensors
        return found

    def over(self, orders: Any) -> Any:
        """The same on other permutations."""
        made = _mapped(tf.raw_ops.FlatMapDataset, self.cut, orders)
        made = tf.data.Dataset.zip((made, self.arrays))
        own = self.gather
        made = _mapped(
            tf.raw_ops.ParallelMapDatasetV2,
            own,
            made,
            num_parallel_calls=own._num_parallel_calls,
            deterministic=own._deterministic,
            use_inter_op_parallelism=own._use_inter_op_parallelism,
            preserve_cardinality=own._preserve_cardinality,
            use_unbounded_threadpool=own._use_unbounded_threadpool,
        )
        for each in reversed(self.tail):
            if _kind(each) == "_OptionsDataset":
                made = made.with_options(each.options())
            else:
                made = made.prefetch(int(each._buffer_size))
        return made


def _mapped(operation: Any, own: Any, over: Any, **settings: Any) -> Any:
    """What the data set `own` is, with its own traced function, over other elements."""
    function = own._map_func.function
    variant = operation(
        input_dataset=tf.data.experimental.to_variant(over),
        other_arguments=function.captured_inputs,
        f=function,
        output_types=own._flat_types,
        output_shapes=own._flat_shapes,
        **settings,
    )
    return tf.data.experimental.from_variant(variant, own.element_spec)


def _kind(dataset: Any) -> str:
    return type(dataset).__name__
