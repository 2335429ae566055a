"""TensorFlow details that recording and replay share. The only such module; imports neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def local_parts(variable: Any) -> list[Any]:
    """The plain TensorFlow variables that this process holds for a Keras variable: one for each of its replicas."""
    held = variable if isinstance(variable, tf.Variable) else variable.value
    return list(held.values) if isinstance(held, tf.distribute.DistributedValues) else [held]


def graph_function(function: Callable[..., Any], **options: Any) -> Any:
    """A `tf.function` of ours, kept out of TensorFlow's warnings about retracing.

    They count by source line, so that many models in one process look like one function that is traced again and again,
    and the user would read a warning that the untraced run does not give.
    """
    made = tf.function(function, autograph=False, **options)
    if hasattr(made, "_omit_frequent_tracing_warning"):
        made._omit_frequent_tracing_warning = True
    return made
