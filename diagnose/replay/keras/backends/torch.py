"""torch: replay runs eagerly, without gradients; layers draw from the global generators, set to the recorded state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from keras import ops

from diagnose.errors import ReplayError
from diagnose.frameworks.torch_generators import generator_state
from diagnose.replay.keras.backends.base import Runner
from diagnose.replay.keras.backends.common import AssigningRunner, NoLoop, batch_of
from diagnose.replay.keras.kept import Made
from diagnose.tracefile.composite import Composite, Sparse
from diagnose.tracefile.model import NDArray


class TorchReplay(NoLoop):
    compiles = False
    masks_reach_metrics = True

    def compile(self, function: Callable[..., Any], *, eagerly: bool, jit: bool) -> Callable[..., Any]:
        run = self.compile_simple(function)
        return lambda *arguments, fixed: run(*arguments)

    def compile_simple(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with torch.no_grad():
                return function(*arguments)

        return run

    def tensor(self, array: NDArray, dtype: str | None = None) -> Any:
        return ops.convert_to_tensor(np.array(array, dtype=dtype))

    def composite(self, value: Composite) -> Any:
        if not isinstance(value, Sparse):
            raise ReplayError(f"torch has no {type(value).__name__.lower()} values")
        indices, data = self.tensor(value.indices.T), self.tensor(value.values)
        return torch.sparse_coo_tensor(indices, data, tuple(value.shape.tolist()))

    def array(self, tensor: Any) -> NDArray:
        return np.array(ops.convert_to_numpy(tensor))

    def parts(self, variable: Any) -> list[Any]:
        return [variable]

    def place(self, part: Any) -> Any:
        return None

    def put(self, part: Any, content: NDArray, place: Any) -> None:
        part.assign(content)

    def spread(self, model: Any) -> int:
        return 1

    def contents(self, variable: Any) -> NDArray:
        return self.array(variable.value)

    def runner(self, model: Any, made: Made, *, training: bool, fixed: bool) -> Runner:
        return TorchRunner(model, training, made)

    def draws_of_its_own(self, made: Iterable[Any]) -> list[str]:
        return []

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def compiled_on_disk(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def generators_apart(self) -> Iterator[None]:
        cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        # Keras's own evaluate draws from the global generator too: a DataLoader takes a seed from it when it is read.
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(0)
            yield

    @contextlib.contextmanager
    def generator(self, state: NDArray | None) -> Iterator[None]:
        if state is None:
            yield
            return
        cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=cuda):
            size = torch.get_rng_state().numel()
            torch.set_rng_state(torch.from_numpy(np.array(state[:size])))
            rest = state[size:]
            for i in cuda:
                own = torch.cuda.get_rng_state(i).numel()
                if len(rest) >= own:
                    torch.cuda.set_rng_state(torch.from_numpy(np.array(rest[:own])), i)
                    rest = rest[own:]
            yield

    def generator_state(self) -> NDArray | None:
        return generator_state()


class TorchRunner(AssigningRunner):
    def __init__(self, model: Any, training: bool, made: Made) -> None:
        super().__init__(model, training, made)
        self._training = training

    def step(self, x: Any, y: Any, sample_weight: Any, *, bare: bool = False) -> Mapping[str, Any] | None:
        self._model.train(self._training)  # as fit and evaluate do before their first step
        logs = self._run([batch_of(x, y, sample_weight, bare=bare)])
        return logs if isinstance(logs, Mapping) else None

    def _copy(self, variable: Any) -> Any:
        return variable.value.detach().clone()


BACKEND = TorchReplay()
