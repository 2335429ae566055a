"""JAX: replay runs as one jitted function per mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import sparse as jax_sparse

from diagnose.errors import ReplayError
from diagnose.replay.backends.base import Trainer
from diagnose.replay.backends.common import batch_of
from diagnose.trace.composite import Composite, Sparse
from diagnose.trace.model import NDArray


class JaxReplay:
    def compile(self, function: Callable[..., Any], *, eagerly: bool) -> Callable[..., Any]:
        compiled = function if eagerly else self.compile_simple(function)
        return lambda *arguments, fixed: compiled(*arguments)

    def compile_simple(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(function)
        return compiled

    def tensor(self, array: NDArray, dtype: str | None = None) -> Any:
        return jax.numpy.asarray(array, dtype=dtype)

    def composite(self, value: Composite) -> Any:
        if not isinstance(value, Sparse):
            raise ReplayError(f"JAX has no {type(value).__name__.lower()} values")
        indices, data = jax.numpy.asarray(value.indices), jax.numpy.asarray(value.values)
        return jax_sparse.BCOO((data, indices), shape=tuple(value.shape.tolist()))

    def array(self, tensor: Any) -> NDArray:
        return np.array(tensor)

    def parts(self, variable: Any) -> list[Any]:
        return [variable]

    def place(self, part: Any) -> Any:
        return part.value.sharding

    def put(self, part: Any, content: NDArray, place: Any) -> None:
        part.assign(jax.device_put(content, place))

    def spread(self, model: Any) -> int:
        return 1

    def contents(self, variable: Any) -> NDArray:
        return np.array(variable.value)

    def trainer(self, model: Any, *, fixed: bool) -> Trainer:
        return JaxTrainer(self, model)

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def generators_apart(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # layers keep their seeds in variables

    @contextlib.contextmanager
    def generator(self, state: NDArray | None) -> Iterator[None]:
        yield


class JaxTrainer:
    def __init__(self, backend: JaxReplay, model: Any) -> None:
        self._backend, self._model = backend, model
        model.make_train_function(force=True)
        self._state = self._from_model()

    def _from_model(self) -> Any:
        # Copies: the train step is given its buffers to reuse, and the model's own must stay.
        model = self._model
        groups = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        return tuple([jax.numpy.array(v.value, copy=True) for v in group] for group in groups)

    def set_weights(self, arrays: Sequence[NDArray]) -> None:
        places = {id(v): i for i, v in enumerate(self._model.variables)}
        self._state = (
            [jax.numpy.asarray(arrays[places[id(v)]]) for v in self._model.trainable_variables],
            [jax.numpy.asarray(arrays[places[id(v)]]) for v in self._model.non_trainable_variables],
            *self._state[2:],
        )

    def step(self, x: Any, y: Any, sample_weight: NDArray | None) -> list[NDArray]:
        weight = None if sample_weight is None else self._backend.tensor(sample_weight)
        _, self._state = self._model.train_function(self._state, iter([batch_of(x, y, weight)]))
        held = dict(zip(map(id, self._model.trainable_variables), self._state[0], strict=True))
        held.update(zip(map(id, self._model.non_trainable_variables), self._state[1], strict=True))
        return [np.array(held[id(v)]) for v in self._model.variables]


BACKEND = JaxReplay()
