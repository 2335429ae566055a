"""JAX: replay runs as one jitted function per mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import sparse as jax_sparse

from diagnose.errors import ReplayError
from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.backends.common import NoLoop, batch_of, optimizer_variables
from diagnose.replay.keras.backends.jax_cache import on_disk
from diagnose.replay.keras.kept import Made
from diagnose.tracefile.composite import Composite, Sparse
from diagnose.tracefile.model import NDArray


class JaxReplay(NoLoop):
    compiles = True
    masks_reach_metrics = False

    def compile(self, function: Callable[..., Any], *, eagerly: bool, jit: bool) -> Callable[..., Any]:
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
        # What is bound to its device is another kind of argument: a step would be compiled once more for it.
        return part.value.sharding, part.value.committed

    def put(self, part: Any, content: NDArray, place: Any) -> None:
        sharding, committed = place
        part.assign(jax.device_put(content, sharding if committed else None))

    def spread(self, model: Any) -> int:
        return 1

    def contents(self, variable: Any) -> NDArray:
        return np.array(variable.value)

    def runner(self, model: Any, made: Made, *, training: bool, fixed: bool) -> Runner:
        return JaxRunner(model, training, made)

    def draws_of_its_own(self, made: Iterable[Any]) -> list[str]:
        return []

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def compiled_on_disk(self) -> contextlib.AbstractContextManager[None]:
        return on_disk()

    def generators_apart(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()  # layers keep their seeds in variables

    @contextlib.contextmanager
    def generator(self, state: NDArray | None) -> Iterator[None]:
        yield

    def generator_state(self) -> NDArray | None:
        return None


class JaxRunner:
    """Keras's functions take and return (trainable, non-trainable, optimizer where it trains, metrics)."""

    def __init__(self, model: Any, training: bool, made: Made) -> None:
        self._model, self._training = model, training
        self._run = made.run
        self._places = {id(v): i for i, v in enumerate(model.variables)}
        optimizer = [optimizer_variables(model)] if training else []
        groups = (model.trainable_variables, model.non_trainable_variables, *optimizer, model.metrics_variables)
        # Copies: a step is given its buffers to reuse, and the model's own must stay.
        self._state = tuple([jax.numpy.array(v.value, copy=True) for v in group] for group in groups)

    def set_weights(self, values: Sequence[Any]) -> None:
        trainable, others = (
            [_copy(values[self._places[id(v)]]) for v in group]
            for group in (self._model.trainable_variables, self._model.non_trainable_variables)
        )
        self._state = (trainable, others, *self._state[2:])

    def set_optimizer(self, values: Sequence[Any]) -> None:
        self._state = (*self._state[:2], [_copy(value) for value in values], self._state[3])

    def set_metrics(self, values: Sequence[Any]) -> None:
        self._state = (*self._state[:-1], [_copy(value) for value in values])

    def step(self, x: Any, y: Any, sample_weight: Any, *, bare: bool = False) -> Mapping[str, Any] | None:
        logs, self._state = self._run(self._state, iter([batch_of(x, y, sample_weight, bare=bare)]))
        return logs if isinstance(logs, Mapping) else None

    def weights(self) -> list[Any]:
        model = self._model
        held = dict(zip(map(id, model.trainable_variables), self._state[0], strict=True))
        held.update(zip(map(id, model.non_trainable_variables), self._state[1], strict=True))
        return [_copy(held[id(v)]) for v in model.variables]

    def metrics(self) -> list[Any]:
        return [_copy(value) for value in self._state[-1]]


def _copy(value: Any) -> Any:
    """A buffer of its own, which the next step cannot be given."""
    return jax.numpy.array(value, copy=True)


BACKEND = JaxReplay()
