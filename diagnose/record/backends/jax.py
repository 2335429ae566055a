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
from diagnose.record.packs import Pack, places_by_group
from diagnose.tracefile.composite import Composite, Sparse
from diagnose.tracefile.model import NDArray

_DETERMINISTIC = ("xla_gpu_deterministic_ops", "xla_gpu_exclude_nondeterministic_ops")


class JaxBackend:
    """Relies on `JAXTrainer` (keras/src/backend/jax/trainer.py): `fit` calls `self.train_function(state, iterator)` by
    attribute with state = (trainable, non_trainable, optimizer, metrics) values, and keeps the newest ones in
    `self._jax_state` while `self._jax_state_synced` is false; buffers are donated to the next step."""

    name = "jax"
    copies_arrays = False

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

    def pack(self, model: Any, variables: Variables, state: Any = None) -> Pack | None:
        if state is None:
            return None
        if "pack" not in variables.prepared:
            variables.prepared["pack"] = _Packer(variables, state)
        packer: _Packer = variables.prepared["pack"]
        return packer.pack(state)

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


class _Packer:
    """Where variables are in a step's state, and how they lie once they are packed."""

    def __init__(self, variables: Variables, state: Any) -> None:
        groups = ((0, variables.trainable), (1, variables.non_trainable))
        found = {id(v): (group, place) for group, listed in groups for place, v in enumerate(listed)}
        self._lengths = len(variables.trainable), len(variables.non_trainable), len(variables.metrics)
        order = [found.get(id(v)) for v in variables.all]
        self._order = [place for place in order if place is not None]
        values = self._values(state) if len(self._order) == len(order) else []
        # Arrays on several devices are brought together by a function of their own kind.
        whole = bool(values) and all(isinstance(v, jax.Array) and len(v.devices()) == 1 for v in values)
        self._places = places_by_group([v.dtype for v in values], [v.shape for v in values]) if whole else []

    def pack(self, state: Any) -> Pack | None:
        trainable, non_trainable, metrics = self._lengths
        others = bool(self._order) and (len(state[0]), len(state[1])) != (trainable, non_trainable)
        if not self._places or others or len(state[3]) != metrics:
            return None  # a callback set `trainable`, say: places in the state are those of other variables
        flat: list[Any] = _packed(self._values(state))
        return Pack(flat, np.asarray, self._places)

    def _values(self, state: Any) -> list[Any]:
        return [*(state[group][place] for group, place in self._order), *state[3]]


@jax.jit  # type: ignore[untyped-decorator, unused-ignore]
def _packed(values: list[Any]) -> list[Any]:
    """Flat arrays, one for each dtype. Dispatched like a step, behind the one that made the values and in front of the
    one that they are donated to: the caller waits for neither."""
    groups: dict[Any, list[Any]] = {}
    for value in values:
        groups.setdefault(value.dtype, []).append(value.reshape(-1))
    return [jax.numpy.concatenate(group) for group in groups.values()]


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
