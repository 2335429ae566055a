"""TensorFlow's insides, and what recording and replay share of its outside."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import tensorflow as tf

_DRAWING: Final = frozenset(
    {
        *(
            "RandomUniform",
            "RandomUniformInt",
            "RandomStandardNormal",
            "TruncatedNormal",
            "ParameterizedTruncatedNormal",
        ),
        *("RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomShuffle", "RandomCrop", "Multinomial"),
        *("SampleDistortedBoundingBox", "SampleDistortedBoundingBoxV2"),
    }
)


_drawing_in: weakref.WeakKeyDictionary[Any, frozenset[str]] = weakref.WeakKeyDictionary()


def local_parts(variable: Any) -> list[Any]:
    """The plain TensorFlow variables that this process holds for a Keras variable: one for each of its replicas."""
    held = variable if isinstance(variable, tf.Variable) else variable.value
    return list(held.values) if isinstance(held, tf.distribute.DistributedValues) else [held]


def is_plain(variable: Any) -> bool:
    """Whether a variable is one of a single device. The second kind is what a variable made inside a tf.function is, as
    compiled metrics are."""
    return type(variable).__name__ in ("ResourceVariable", "UnliftedInitializerVariable")


def operations_are_deterministic() -> bool:
    """Whether `tf.config.experimental.enable_op_determinism()` was called. There is no public way to ask."""
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())


def is_summed_when_read(variable: Any) -> bool:
    """Whether each replica adds up a variable for itself, and reading it joins the parts."""
    return type(variable).__name__ == "SyncOnReadVariable"


def reader_of(variables: Sequence[Any]) -> Callable[[], list[Any]]:
    """Reads what plain variables hold, as tensors, with one operation. Nothing is copied: whoever writes into a
    variable whose tensor somebody holds makes a new one (but for variables with sparse updates, which are copied here).

    As `tf.raw_ops` has no such operation, `ReadVariableOp` for each is the public way: four times as long.
    """
    from tensorflow.python.eager.context import context
    from tensorflow.python.eager.execute import execute

    handles = [variable.handle for variable in variables]
    attributes = ("N", len(handles), "dtypes", tuple(v.dtype.as_datatype_enum for v in variables))

    def read() -> list[Any]:
        return list(execute(b"_ReadVariablesOp", len(handles), handles, attributes, context()))

    return read


def graph_function(function: Callable[..., Any], **options: Any) -> Any:
    """A `tf.function` of ours, kept out of TensorFlow's warnings about retracing.

    They count by source line, so that many models in one process look like one function that is traced again and again,
    and the user would read a warning that the untraced run does not give.
    """
    made = tf.function(function, autograph=False, **options)
    if hasattr(made, "_omit_frequent_tracing_warning"):
        made._omit_frequent_tracing_warning = True
    return made


def random_operations(function: Any) -> frozenset[str]:
    """The kinds of operations in a `tf.function` with one signature, traced by now, that draw random numbers from a
    state of their own (`tf.random.normal` and its like, which Keras's own layers do not use). A graph never changes, so
    each is searched once."""
    if function not in _drawing_in:
        graph = function.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
        _drawing_in[function] = _DRAWING.intersection(node.op for node in nodes)
    return _drawing_in[function]


def specs_of_parts(spec: Any) -> tuple[Any, ...]:
    """The specs of what each replica gets of a distributed value; the spec itself for any other value."""
    return tuple(getattr(spec, "_value_specs", (spec,)))


def is_spec_of_none(spec: Any) -> bool:
    """The spec of None has a public name from TensorFlow 2.20 on."""
    return type(spec).__name__ == "NoneTensorSpec"


def runs_ahead_at_its_end(dataset: Any) -> bool:
    """Whether tf.data itself puts a prefetch behind the pipeline (`inject_prefetch`)."""
    optimization = dataset.options().experimental_optimization
    if optimization.apply_default_optimizations is False or optimization.inject_prefetch is False:
        return False
    while type(dataset).__name__ == "_OptionsDataset":
        dataset = dataset._input_dataset
    return not type(dataset).__name__.startswith(("_Prefetch", "_Parallel"))


def drawn_from(epoch_iterator: Any) -> Any:
    """What a `TFEpochIterator` of Keras goes over: a data set, or a distributed one
    (`EpochIterator._enumerate_iterator` calls `self._get_iterator()` for it)."""
    return type(epoch_iterator)._get_iterator(epoch_iterator)


def draw_through(epoch_iterator: Any, through: Callable[[Any], Any]) -> None:
    """Has a `TFEpochIterator` that has not begun go over what `through` makes of its data set."""
    itself = weakref.ref(epoch_iterator)  # no circle: what a fit held is let go when it ends
    epoch_iterator._get_iterator = lambda: through(drawn_from(itself()))
