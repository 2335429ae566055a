"""TensorFlow: Keras's train function runs as it is, on its own iterator; the batches are noted where they are drawn.
Around it, state is read."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import (
    graph_function,
    is_plain,
    local_parts,
    operations_are_deterministic,
    reader_of,
    specs_of_parts,
)
from diagnose.record.array_source import ArraySource
from diagnose.record.backends import tensorflow_arrays, tensorflow_distribution, tensorflow_source
from diagnose.record.backends.base import Distribution, Live, Source, StepHook, Variables
from diagnose.record.handlers import let_through
from diagnose.record.packs import Pack
from diagnose.tracefile.composite import Composite, Ragged, Sparse, Strings
from diagnose.tracefile.model import NDArray

_Parts = tuple[list[Any], list[list[Any]], Callable[[], list[Any]] | None]
"""What this process holds of the variables and of the metrics', and what reads all of it at once, where it can."""


class TensorFlowBackend:
    """Relies on `TensorFlowTrainer._make_function` (keras/src/backend/tensorflow/trainer.py): `fit` calls
    `self.train_function(iterator)` by attribute; for an argument that is no tf.data iterator (`train_on_batch`) the
    function runs one step per element, up to `steps_per_execution`."""

    name = "tensorflow"
    copies_arrays = True

    def wrap_train(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def wrap_test(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def tap(self, epoch_iterator: Any, wanted: Callable[[], bool]) -> Source | None:
        return tensorflow_source.tap(epoch_iterator, wanted)

    def tap_arrays(self, epoch_iterator: Any) -> ArraySource | None:
        return tensorflow_arrays.tap(epoch_iterator, self.view)

    def live(self, model: Any, variables: Variables, state: Any = None) -> Live:
        def optimizer() -> list[Any]:
            return [local_parts(v)[0] for v in variables.optimizer]

        parts, metrics, reader = self._parts(variables)
        if reader is None:
            return Live(parts, optimizer, self._combined(variables, metrics))
        arrays = [self.view(value) for value in reader()]
        return Live(arrays[: len(parts)], optimizer, arrays[len(parts) :], owned=True)

    def pack(self, model: Any, variables: Variables, state: Any = None) -> Pack | None:
        reader = self._parts(variables)[2]
        return None if reader is None else Pack(reader(), self.view)

    def _parts(self, variables: Variables) -> _Parts:
        if "parts" not in variables.prepared:
            held = [local_parts(v) for v in variables.all]
            parts = [p[0] for p in held] + [held[index][replica] for index, replica in self.copies(variables)]
            metrics = [local_parts(v) for v in variables.metrics]
            every = [*parts, *(part for group in metrics for part in group)]
            plain = bool(every) and all(len(group) == 1 for group in (*held, *metrics)) and all(map(is_plain, every))
            variables.prepared["parts"] = parts, metrics, reader_of(every) if plain else None
        found: _Parts = variables.prepared["parts"]
        return found

    def _combined(self, variables: Variables, metrics: list[list[Any]]) -> list[Any]:
        return [
            group[0] if len(group) == 1 else tensorflow_distribution.combine([self.view(part) for part in group], v)
            for v, group in zip(variables.metrics, metrics, strict=True)
        ]

    def before_run(self, variables: Sequence[Any]) -> list[NDArray] | None:
        if not tf.inside_function():
            return None
        with tf.init_scope():  # out of what is traced, to which nothing is added
            held = [local_parts(v) for v in variables]
            if not tf.executing_eagerly() or any(len(parts) > 1 for parts in held):
                return None
            if not all(bool(part.is_initialized()) for (part,) in held):
                return None
            return [np.array(part.numpy()) for (part,) in held]

    def distribution(self, model: Any) -> Distribution | None:
        return tensorflow_distribution.distribution(model)

    def adds_in_order(self, model: Any) -> bool:
        return not tf.config.list_physical_devices("GPU") or operations_are_deterministic()

    def copies(self, variables: Variables) -> Sequence[tuple[int, int]]:
        if "copies" not in variables.prepared:
            found = tensorflow_distribution.own_copies(variables.all, variables.trainable)
            variables.prepared["copies"] = found
        copies: list[tuple[int, int]] = variables.prepared["copies"]
        return copies

    def shares(self, data: Any) -> tuple[int, ...] | None:
        return tensorflow_distribution.shares(data)

    def view(self, value: Any) -> NDArray:
        if isinstance(value, np.ndarray):
            return value
        tensor = value
        if not isinstance(value, tf.Tensor):
            parts = tensorflow_distribution.batch_parts(value)
            if parts is not None:
                return np.concatenate([self.view(part) for part in parts])
            tensor = value.read_value() if isinstance(value, tf.Variable) else value
        try:
            # Shares the CPU buffer. Types without a buffer format (bfloat16) and device tensors are copied instead.
            return np.asarray(memoryview(tensor))
        except (TypeError, BufferError, ValueError, NotImplementedError, RuntimeError) as error:
            let_through(error)
            return np.asarray(tensor.numpy())

    def composite(self, value: Any) -> Composite | None:
        if isinstance(value, tf.RaggedTensor):
            splits = tuple(self.view(tf.cast(s, tf.int64)) for s in value.nested_row_splits)
            return Ragged(self.view(value.flat_values), splits)
        if isinstance(value, tf.SparseTensor):
            return Sparse(self.view(value.indices), self.view(value.values), self.view(value.dense_shape))
        if isinstance(value, tf.Tensor) and value.dtype == tf.string:
            return Strings.of(np.asarray(value.numpy(), object))
        return None

    def generator_state(self) -> NDArray | None:
        return None


def _nothing() -> None:
    """In the place of a reference."""


def _wrap(model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
    seen: Callable[[], Any] = _nothing
    fixed = False

    def traced(iterator: Any) -> Any:
        if not hook.armed():
            return original(iterator)
        nonlocal seen, fixed
        if iterator is not seen():
            if isinstance(iterator, tf.distribute.DistributedIterator) and not model.run_eagerly:
                return _distributed(model, original, hook, iterator)
            seen, fixed = _nothing, False
            if isinstance(iterator, tf.data.Iterator):
                seen, fixed = weakref.ref(iterator), _has_fixed_batch_axis(iterator)
        if iterator is seen():
            hook.batch_axis(model.run_eagerly or fixed)
            hook.before(None, None)
            outputs = original(iterator)  # where the data has ended it raises, and there was no step
            hook.fetched()
            hook.after(None)
            return outputs
        hook.batch_axis(True)
        return _one_by_one(model, original, hook, iterator, lambda data: original([data]))

    return traced


def _distributed(model: Any, original: Callable[..., Any], hook: StepHook, iterator: Any) -> Any:
    """One execution on several replicas, each of which draws its own part of a batch. They are seen where they are
    fetched, so the step runs in another function than Keras's here."""
    # Kept with the function, so that a second traced fit of the model does not trace the same graphs again.
    steps: dict[Any, Callable[[Any], Any]] = original.__dict__.setdefault("__diagnose_steps__", {})
    hook.batch_axis(_has_fixed_batch_axis(iterator))
    if model.steps_per_execution == 1:
        if "fetch" not in steps:

            def fetch_and_step(iterator: Any) -> Any:
                data = iterator.get_next()
                return data, original([data])

            steps["fetch"] = graph_function(fetch_and_step, reduce_retracing=True)
        hook.before(None, None)
        data, outputs = steps["fetch"](iterator)
        hook.fetched(data)
        hook.after(None)
        return outputs
    return _one_by_one(model, original, hook, iterator, _one_step(original, iterator, steps))


def _one_by_one(
    model: Any, original: Callable[..., Any], hook: StepHook, iterator: Any, step: Callable[[Any], Any]
) -> Any:
    """One execution, each of its batches fetched here and given to `step`."""
    outputs = None
    for done in range(model.steps_per_execution):
        try:
            data = next(iterator)
        except StopIteration:
            if done == 0:
                return original(iterator)
            break
        hook.before(data, None)
        outputs = step(data)
        hook.after(None)
    return outputs


def _has_fixed_batch_axis(iterator: Any) -> bool:
    leaves = [spec for spec in tf.nest.flatten(iterator.element_spec) if tensorflow_source.is_noted(spec)]
    specs = [specs_of_parts(spec) for spec in leaves]  # not of what is None in all batches
    shapes = [getattr(spec, "shape", None) for parts in specs for spec in parts]
    return all(shape is not None and shape.rank and shape[0] is not None for shape in shapes)


def _one_step(
    original: Callable[..., Any], iterator: Any, steps: dict[Any, Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """`original` for one batch, traced with the iterator's element spec: the same shapes (batch axis open, if it is)
    that the untraced fit compiles with, so the same graph runs, and a short last batch makes no second one."""
    spec = iterator.element_spec
    key = str(spec)
    if key not in steps:

        def one_step(data: Any) -> Any:
            return original([data])

        steps[key] = graph_function(one_step, input_signature=[spec])
    return steps[key]


BACKEND = TensorFlowBackend()
