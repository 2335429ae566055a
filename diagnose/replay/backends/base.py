"""What replay needs from a backend: run a function of arrays, compiled where the backend compiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from diagnose.trace.composite import Composite
from diagnose.trace.model import NDArray


class Trainer(Protocol):
    """Trains the model again, step by step."""

    def set_weights(self, arrays: Sequence[NDArray]) -> None:
        """Sets the model's variables, in the order of `model.variables`, before the next step."""

    def step(self, x: Any, y: Any, sample_weight: NDArray | None) -> list[NDArray]:
        """One train step of the model's own train function. Returns copies of the model's variables after it."""


class ReplayBackend(Protocol):
    """One backend's way of running the forward half of a step on given values."""

    def compile(self, function: Callable[..., Any], *, eagerly: bool) -> Callable[..., Any]:
        """`function(values, metric_values, x, y, sample_weight)`, compiled unless `eagerly`, with a further argument
        `fixed`: whether to compile for the batch size at hand, or (where the backend can) for any."""

    def compile_simple(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of a list of tensors of fixed shapes, compiled where the backend compiles."""

    def tensor(self, array: NDArray, dtype: str | None = None) -> Any:
        """A backend tensor with the array's contents."""

    def composite(self, value: Composite) -> Any:
        """A backend value for a ragged, sparse or string value. Raises ReplayError where the backend has none."""

    def array(self, tensor: Any) -> NDArray:
        """A NumPy copy of a tensor."""

    def parts(self, variable: Any) -> list[Any]:
        """What holds the contents of a Keras variable: itself, or one part for each replica of this process."""

    def place(self, part: Any) -> Any:
        """On which devices a part lies, and how; None where that never changes. Comparable."""

    def put(self, part: Any, content: NDArray, place: Any) -> None:
        """Sets a part's contents, at its place."""

    def spread(self, model: Any) -> int:
        """The number of replicas that the model's own `evaluate` runs on."""

    def contents(self, variable: Any) -> NDArray:
        """A NumPy copy of the value of a Keras variable (of its first replica) or of one of its parts."""

    def trainer(self, model: Any, *, fixed: bool) -> Trainer:
        """Trains the model from its present state. `fixed` as for `compile`."""

    def quiet(self) -> AbstractContextManager[None]:
        """Keeps back warnings about compiling again, which a user's own run would not give."""

    def generators_apart(self) -> AbstractContextManager[None]:
        """Within: process-wide generators start from a fixed state. After: they go on from where they were."""

    def generator(self, state: NDArray | None) -> AbstractContextManager[None]:
        """Sets process-wide generators to a recorded state, and back to what they were on leaving."""
