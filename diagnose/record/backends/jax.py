"""JAX: the train function carries the variables as a state tuple; they are read from there, never by a forced sync."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import sparse as jax_sparse

from diagnose.frameworks.keras.trainers import jax_state
from diagnose.record.array_source import ArraySource
from diagnose.record.backends import jax_arrays
from diagnose.record.backends.base import Distribution, Live, Source, StepHook, Variables
from diagnose.tracefile.composite import Composite, Sparse
from diagnose.tracefile.model import NDArray

_DETERMINISTIC = ("xla_gpu_deterministic_ops", "xla_gpu_exclude_nondeterministic_ops")


class JaxBackend:
    """Relies on `JAXTrainer` (keras/src/backend/jax/trainer.py): `fit` calls `self.train_function(state, iterator)` by
    attribute with state = (trainable, non_trainable, optimizer, metrics) values, and keeps the newest ones in
    `self._jax_state` while `self._jax_state_synced` is false; buffers are donated to the next step."""

    name = "jax"

    def wrap_train(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def wrap_test(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        return _wrap(model, original, hook)

    def tap(self, epoch_iterator: Any, wanted: Callable[[], bool]) -> Source | None:
        return None

    def tap_arrays(self, epoch_iterator: Any) -> ArraySource | None:
        return jax_arrays.tap(epoch_iterator)

    def live(self, model: Any, variables: Variables, state: Any = None) -> Live:
        trainable, non_trainable, optimizer, metrics = jax_state(model) if state is None else state
        values: dict[int, Any] = {}
        for known, held in ((variables.trainable, trainable), (variables.non_trainable, non_trainable)):
            if held is not None:
                values.update((id(v), value) for v, value in zip(known, held, strict=True))
        return Live(
            # Not `get(id(v), v.value)`: the variables hold nothing while the state is out, and reading them raises.
            variables=[values[id(v)] if id(v) in values else v.value for v in variables.all],  # noqa: SIM401
            optimizer=lambda: [v.value for v in variables.optimizer] if optimizer is None else list(optimizer),
            metrics=list(metrics) if metrics is not None else [v.value for v in variables.metrics],
        )

    def before_run(self, variables: Sequence[Any]) -> list[NDArray] | None:
        return None  # this trainer builds the model before its first step

    def distribution(self, model: Any) -> Distribution | None:
        # keras.distribution computes one global step on sharded arrays, which are read whole.
        processes = jax.process_count()
        if processes == 1:
            return None
        refusal = "with JAX on several processes, arrays cannot be read whole in one of them, so this fit is not traced"
        chief = jax.process_index() == 0
        return Distribution("keras.distribution", jax.device_count(), jax.local_device_count(), chief, refusal)

    def adds_in_order(self, model: Any) -> bool:
        if jax.default_backend() != "gpu":
            return True
        flags = os.environ.get("XLA_FLAGS", "")
        return any(f"{name}=true" in flags for name in _DETERMINISTIC)

    def copies(self, variables: Variables) -> Sequence[tuple[int, int]]:
        return ()

    def shares(self, data: Any) -> tuple[int, ...] | None:
        return None

    def view(self, value: Any) -> NDArray:
        return np.asarray(value)

    def composite(self, value: Any) -> Composite | None:
        if isinstance(value, jax_sparse.BCOO):
            shape = np.array(value.shape, np.int64)
            return Sparse(np.array(value.indices, np.int64), np.array(value.data), shape)
        return None

    def generator_state(self) -> NDArray | None:
        return None


def _wrap(model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
    def traced(state: Any, iterator: Any) -> Any:
        if not hook.armed():
            return original(state, iterator)
        outputs = None
        for done in range(model.steps_per_execution):
            try:
                data = next(iterator)
            except StopIteration:
                if done == 0:
                    raise
                break
            hook.before(data, _four(state))
            outputs, state = original(state, iter([data]))
            hook.after(_four(state))
        return outputs, state

    return traced


def _four(state: Any) -> tuple[Any, Any, Any, Any]:
    """A step's state as (trainable, non_trainable, optimizer, metrics); test steps carry no optimizer."""
    if len(state) == 4:
        return tuple(state)
    trainable, non_trainable, metrics = state
    return trainable, non_trainable, None, metrics


BACKEND = JaxBackend()
