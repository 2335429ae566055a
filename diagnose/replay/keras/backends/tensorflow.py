"""TensorFlow: replay runs as one tf.function per mode."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from diagnose.frameworks.keras.tensorflow_tools import graph_function, local_parts, random_operations
from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.backends.common import AssigningRunner, as_arrays, batch_of
from diagnose.replay.keras.backends.tensorflow_loop import Each, Loop
from diagnose.replay.keras.kept import Made
from diagnose.tracefile.composite import Composite, Ragged, Sparse
from diagnose.tracefile.model import NDArray


class TensorFlowReplay:
    compiles = True
    masks_reach_metrics = True

    def compile(self, function: Callable[..., Any], *, eagerly: bool, jit: bool) -> Callable[..., Any]:
        if eagerly:
            return lambda *arguments, fixed: function(*arguments)
        compiled: dict[Any, Callable[..., Any]] = {}

        def run(values: Any, metrics: Any, left: Any, x: Any, y: Any, sample_weight: Any, *, fixed: bool) -> Any:
            data = (x, y, sample_weight)
            leaves = [leaf for leaf in tf.nest.flatten(data) if leaf is not None]
            specs = [tf.type_spec_from_value(leaf) if fixed else _open_spec(leaf) for leaf in leaves]
            absent = tf.nest.map_structure(lambda leaf: leaf is None, data)
            key = (str(specs), str(absent))
            if key not in compiled:

                def step(values: Any, metrics: Any, left: Any, leaves: Any) -> Any:
                    rest = iter(leaves)
                    x, y, sample_weight = tf.nest.map_structure(lambda missing: None if missing else next(rest), absent)
                    return function(values, metrics, left, x, y, sample_weight)

                exact = tf.nest.map_structure(tf.TensorSpec.from_tensor, [values, metrics, left])
                compiled[key] = graph_function(step, input_signature=[*exact, specs], jit_compile=jit or None)
            return compiled[key](values, metrics, left, leaves)

        run.graphs = compiled  # type: ignore[attr-defined]
        return run

    def loop(self, step: Callable[..., Any], modes: int, carried: Sequence[int]) -> Callable[..., Any]:
        return Loop(step, modes, carried)

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return Each(function)

    def compile_simple(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = graph_function(function)
        return compiled

    def tensor(self, array: NDArray, dtype: str | None = None) -> Any:
        return tf.convert_to_tensor(array if dtype is None else array.astype(dtype))

    def composite(self, value: Composite) -> Any:
        if isinstance(value, Ragged):
            return tf.RaggedTensor.from_nested_row_splits(value.values, value.row_splits)
        if isinstance(value, Sparse):
            return tf.SparseTensor(value.indices, value.values, value.shape)
        return tf.constant(value.to_numpy(), tf.string)

    def array(self, tensor: Any) -> NDArray:
        return np.array(tensor)

    def parts(self, variable: Any) -> list[Any]:
        return local_parts(variable)

    def place(self, part: Any) -> Any:
        return None

    def put(self, part: Any, content: NDArray, place: Any) -> None:
        part.assign(content)

    def spread(self, model: Any) -> int:
        return int(model.distribute_strategy.num_replicas_in_sync)

    def contents(self, variable: Any) -> NDArray:
        # Not np.array(variable): tf.Variable's __array__ sets off a NumPy 2 warning.
        return np.array(local_parts(variable)[0].numpy())

    def evaluated(self, x: Any, y: Any, sample_weight: Any, batch_size: int) -> dict[str, Any]:
        # Keras makes its batches of arrays by three functions of tf.data, which are traced anew for every call: five
        # times what all the rest of a small `evaluate` takes.
        parts = keras.tree.lists_to_tuples((x, y) if sample_weight is None else (x, y, sample_weight))
        leaves = keras.tree.flatten(parts)
        if not all(map(_as_it_is, leaves)) or len({len(leaf) for leaf in leaves}) != 1:
            return as_arrays(x, y, sample_weight, batch_size)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        options.autotune.enabled = False
        rows = tf.data.Dataset.from_tensor_slices(parts)
        # As for arrays: where no batch is short, their size is known.
        return {"x": rows.batch(batch_size, drop_remainder=len(leaves[0]) % batch_size == 0).with_options(options)}

    def runner(self, model: Any, made: Made, *, training: bool, fixed: bool) -> Runner:
        return TensorFlowRunner(model, training, fixed, made)

    def draws_of_its_own(self, made: Iterable[Any]) -> list[str]:
        functions = [graph for each in made for graph in getattr(each, "graphs", {}).values()]
        return sorted({name for function in functions for name in random_operations(function)})

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        logger = logging.getLogger("tensorflow")
        logger.addFilter(_not_retracing)
        try:
            yield
        finally:
            logger.removeFilter(_not_retracing)

    def compiled_on_disk(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def generators_apart(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # layers keep their seeds in variables

    @contextlib.contextmanager
    def generator(self, state: NDArray | None) -> Iterator[None]:
        yield

    def generator_state(self) -> NDArray | None:
        return None


class TensorFlowRunner(AssigningRunner):
    def __init__(self, model: Any, training: bool, fixed: bool, made: Made) -> None:
        super().__init__(model, training, made)
        self._fixed = fixed
        self.graphs = made.graphs

    def step(self, x: Any, y: Any, sample_weight: Any, *, bare: bool = False) -> Mapping[str, Any] | None:
        batch = batch_of(x, y, sample_weight, bare=bare)
        logs = self._function(batch)(batch)
        return logs if isinstance(logs, Mapping) else None

    def _copy(self, variable: Any) -> Any:
        return tf.identity(local_parts(variable)[0])

    def _function(self, batch: Any) -> Callable[..., Any]:
        run = self._run
        if self._model.run_eagerly:
            return lambda batch: run([batch])
        spec = tf.nest.map_structure(tf.type_spec_from_value if self._fixed else _open_spec, batch)
        if str(spec) not in self.graphs:
            self.graphs[str(spec)] = graph_function(lambda batch: run([batch]), input_signature=[spec])
        return self.graphs[str(spec)]


def _as_it_is(leaf: Any) -> bool:
    """Whether Keras makes a tensor of the same type and contents of it, by whichever way."""
    if not isinstance(leaf, np.ndarray) or not leaf.ndim:
        return False
    return leaf.dtype.kind in "biu" or (leaf.dtype.kind == "f" and leaf.dtype == keras.config.floatx())


def _open_spec(leaf: Any) -> Any:
    """The type of a value with its batch axis open."""
    shape = [None, *leaf.shape[1:]] if leaf.shape.rank else []
    if isinstance(leaf, tf.RaggedTensor):
        return tf.RaggedTensorSpec(shape, leaf.dtype, leaf.ragged_rank, leaf.row_splits.dtype)
    if isinstance(leaf, tf.SparseTensor):
        return tf.SparseTensorSpec(shape, leaf.dtype)
    return tf.TensorSpec(shape, leaf.dtype)


def _not_retracing(record: logging.LogRecord) -> bool:
    return "tf.function retracing" not in str(record.msg)


BACKEND = TensorFlowReplay()
