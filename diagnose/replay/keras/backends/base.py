"""What replay needs from a backend: run a function of arrays, compiled where the backend compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from diagnose.replay.keras.kept import Made
from diagnose.tracefile.composite import Composite
from diagnose.tracefile.model import NDArray


class Runner(Protocol):
    """Runs the model's own train or test function, step by step, on given values of all its variables."""

    def set_weights(self, values: Sequence[Any]) -> None:
        """Sets the model's variables (arrays or tensors, in the order of `model.variables`) before the next step."""

    def set_optimizer(self, values: Sequence[Any]) -> None:
        """Sets the optimizer's variables. Train steps only."""

    def set_metrics(self, values: Sequence[Any]) -> None:
        """Sets the metrics' variables, in the order of `model.metrics_variables`."""

    def step(self, x: Any, y: Any, sample_weight: Any, *, bare: bool = False) -> Mapping[str, Any] | None:
        """One step. Returns what it returned, if that is a dict.

        Args:
            bare: x is handed on by itself, not as the first of a tuple.
        """

    def weights(self) -> list[Any]:
        """The model's variables after the step, as backend values that the next step leaves alone."""

    def metrics(self) -> list[Any]:
        """The metrics' variables, likewise."""


class ReplayBackend(Protocol):
    """One backend's way of running the forward half of a step on given values."""

    compiles: bool
    """Whether it compiles anything."""
    masks_reach_metrics: bool
    """See `diagnose.replay.keras.forward.make_step`."""

    def compile(self, function: Callable[..., Any], *, eagerly: bool, jit: bool) -> Callable[..., Any]:
        """`function(values, metric_values, left, x, y, sample_weight)`, compiled unless `eagerly`, with one more
        argument, `fixed`: whether to compile for the batch size at hand, or (where the backend can) for any. `jit`: as
        fit's steps were with `jit_compile` (TensorFlow's XLA draws other random numbers than its graphs do)."""

    def loop(self, step: Callable[..., Any], modes: int, carried: Sequence[int]) -> Callable[..., Any] | None:
        """`step` over many batches in one go, each from the metric state the one before left; None where the backend
        gains nothing by it.

        It takes (values, metric_values, left, x, y, sample_weight), x, y and sample_weight with a first axis over the
        batches; `moving`: the values have one too; `carry`: for each mode, whether what a pass left in the carried
        variables is handed on; and `fixed` as in `compile`. It gives (metric values, carried values, the first mode's
        metric values after each batch, the penalties by batch and mode).
        """

    def each(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        """`function` of a list of tensors for each place of a first axis: a dict of stacked results. None as above."""

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

    def runner(self, model: Any, made: Made, *, training: bool, fixed: bool) -> Runner:
        """A runner that starts from the model's present state, of the train or test function in `made`. `fixed` as for
        `compile`."""

    def evaluated(self, x: Any, y: Any, sample_weight: Any, batch_size: int) -> dict[str, Any]:
        """The arguments of `Model.evaluate` for these arrays, in batches of this size. Another form of the same batches
        where Keras's own way from arrays to them costs more than the rest of a small evaluation."""

    def draws_of_its_own(self, made: Iterable[Any]) -> list[str]:
        """The random operations in what `compile` or `runner` made whose state nothing outside of them holds, by
        name."""

    def quiet(self) -> AbstractContextManager[None]:
        """Keeps back warnings about compiling again, which a user's own run would not give."""

    def generators_apart(self) -> AbstractContextManager[None]:
        """Within: process-wide generators start from a fixed state. After: they go on from where they were."""

    def compiled_on_disk(self) -> AbstractContextManager[None]:
        """Within: what is compiled for replays is kept for later processes, where the backend can."""

    def generator(self, state: NDArray | None) -> AbstractContextManager[None]:
        """Sets process-wide generators to a recorded state, and back to what they were on leaving."""

    def generator_state(self) -> NDArray | None:
        """The state of process-wide generators; None where layers keep their seeds in variables."""
