"""JAX: replay runs as one jitted function per mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import sparse as jax_sparse

from diagnose.errors import ReplayError
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

    def contents(self, variable: Any) -> NDArray:
        return np.array(variable.value)

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def generator(self, state: NDArray | None) -> Iterator[None]:
        yield


BACKEND = JaxReplay()
