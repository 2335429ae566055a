"""TensorFlow: `train_function(iterator)` accepts any iterable of batches, so the wrapper pulls the batch and passes `[batch]` on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diagnose.record.backends.base import Live, StepHook, Variables
from diagnose.trace.model import NDArray


class TensorFlowBackend:
    """Relies on `TensorFlowTrainer._make_function` (keras/src/backend/tensorflow/trainer.py): `fit` calls
    `self.train_function(iterator)` by attribute; for an argument that is no tf.data iterator the function runs
    one step per element, up to `steps_per_execution`."""

    name = "tensorflow"

    def wrap_train(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def wrap_test(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def live(self, model: Any, variables: Variables, state: Any = None) -> Live:
        return Live(
            variables=[v.value for v in variables.all],
            optimizer=[getattr(v, "value", v) for v in variables.optimizer],
            metrics=[v.value for v in variables.metrics],
        )

    def view(self, value: Any) -> NDArray:
        tensor = value.read_value() if isinstance(value, tf.Variable) else value
        try:
            # Shares the CPU buffer. Types without a buffer format (bfloat16) and device tensors are copied instead.
            return np.asarray(memoryview(tensor))
        except (TypeError, BufferError, ValueError, NotImplementedError, RuntimeError):
            return np.asarray(tensor.numpy())

    def generator_state(self) -> NDArray | None:
        return None


def _wrap(model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
    steps: dict[Any, Callable[[Any], Any]] = {}

    def traced(iterator: Any) -> Any:
        if not hook.armed():
            return original(iterator)
        outputs = None
        for done in range(model.steps_per_execution):
            try:
                data = next(iterator)
            except StopIteration:
                if done == 0:
                    raise
                break
            hook.before(data, None)
            outputs = _one_step(model, original, iterator, steps)(data)
            hook.after(None)
        return outputs

    return traced


def _one_step(
    model: Any, original: Callable[..., Any], iterator: Any, steps: dict[Any, Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """`original` for one batch, traced with the iterator's element spec: the same shapes (batch axis open, if it is) that the
    untraced fit compiles with, so the same graph runs, and a short last batch makes no second one."""
    if model.run_eagerly or not isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
        return lambda data: original([data])
    spec = iterator.element_spec
    key = str(spec)
    if key not in steps:

        def one_step(data: Any) -> Any:
            return original([data])

        steps[key] = tf.function(one_step, input_signature=[spec], autograph=False)
    return steps[key]


BACKEND = TensorFlowBackend()
