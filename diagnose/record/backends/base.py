"""What the recorder needs from a backend: how its trainer runs a step is known in this package, and what is private of
it in `frameworks/keras`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from diagnose.frameworks.keras.model_state import state_variables
from diagnose.frameworks.keras.optimizers import variables_of
from diagnose.record.array_source import ArraySource
from diagnose.record.packs import Pack
from diagnose.tracefile.composite import Composite
from diagnose.tracefile.model import NDArray


@dataclass(frozen=True, slots=True)
class Variables:
    """A model's variables, looked up once: walking the layers of a deep model on every step would cost milliseconds."""

    all: Sequence[Any]
    trainable: Sequence[Any]
    non_trainable: Sequence[Any]
    optimizer: Sequence[Any]
    metrics: Sequence[Any]
    prepared: dict[str, Any] = field(default_factory=dict)
    """What a backend prepares once for reading these variables fast."""

    @classmethod
    def of(cls, model: Any) -> Variables:
        return cls(
            all=state_variables(model),
            trainable=list(model.trainable_variables),
            non_trainable=list(model.non_trainable_variables),
            optimizer=variables_of(model),
            metrics=list(model.metrics_variables),
        )

    def same(self, other: Variables) -> bool:
        """Whether these are the same variable objects, in the same order."""
        mine = (self.all, self.trainable, self.optimizer, self.metrics)
        theirs = (other.all, other.trainable, other.optimizer, other.metrics)
        return [[id(v) for v in group] for group in mine] == [[id(v) for v in group] for group in theirs]


@dataclass(frozen=True, slots=True)
class Live:
    """The current contents of a model's variables, as the backend holds them. Valid until the next update, unless
    `owned`."""

    variables: Sequence[Any]
    optimizer: Callable[[], Sequence[Any]]
    metrics: Sequence[Any]
    owned: bool = False
    """True: `variables` are NumPy arrays that nothing will change, so they need not be copied."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a model's training is spread over replicas."""

    strategy: str
    replicas: int
    local: int
    """Of them, those in this process."""
    records: bool
    """Whether this is the process that records; the others stay silent."""
    refusal: str | None = None
    """Why this fit cannot be traced, or None."""


class Source(Protocol):
    """Notes the batches that Keras draws from a pipeline, in order. Nothing is drawn that Keras does not ask for."""

    def clear(self) -> None:
        """Forgets what was noted: a step that failed has drawn a batch all the same."""

    def take(self) -> list[Any]:
        """The batches drawn since the last `clear` or `take`. Raises what went wrong while one was noted."""


class StepHook(Protocol):
    """What a wrapped train or test function calls. None of these methods ever raises, except what is not an
    `Exception`."""

    def armed(self) -> bool:
        """Whether the call belongs to the traced fit. A wrapper left behind by a fit that raised is not armed, and
        passes through."""

    def batch_axis(self, fixed: bool) -> None:
        """Called before a step: whether the step is compiled for one batch size. Some of Keras's values depend on it
        (`CompileLoss` weighs the loss of one output by the static batch size, 1 where that is open)."""

    def before(self, data: Any, state: Any) -> None:
        """Called before the step with the batch (None: `fetched` tells), and the state the step gets where the backend
        passes one (JAX), else None."""

    def fetched(self, *batches: Any) -> None:
        """Called between `before` and `after`, where the step itself fetches, with what it fetched. Without: what
        `source` noted, several batches with `steps_per_execution`."""

    def after(self, state: Any) -> None:
        """Called after the step, with the state the step returned where the backend passes one (JAX), else None."""


class Backend(Protocol):
    """One backend's way of running a step and of holding values."""

    name: str
    copies_arrays: bool
    """Whether its data sets hold copies of the NumPy arrays that a fit was given."""

    def wrap_train(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        """A function to set as `model.train_function` in place of `original`."""

    def wrap_test(self, model: Any, original: Callable[..., Any], hook: StepHook) -> Callable[..., Any]:
        """A function to set as `model.test_function` in place of `original`."""

    def tap(self, epoch_iterator: Any, wanted: Callable[[], bool]) -> Source | None:
        """Has the batches noted that an epoch iterator of Keras's, which has not begun, will draw, while they are
        `wanted`. None where the wrapped function gets each batch anyway, or where that cannot be."""

    def tap_arrays(self, epoch_iterator: Any) -> ArraySource | None:
        """Has the order of rows noted in which an epoch iterator of Keras's, which has not begun, will go over arrays.
        None for other data, and where that cannot be seen."""

    def live(self, model: Any, variables: Variables, state: Any = None) -> Live:
        """The current values (those in `state`, if given), without changing what the model's trainer does next."""

    def pack(self, model: Any, variables: Variables, state: Any = None) -> Pack | None:
        """What `live` gives of the variables and the metrics, taken in one piece: nothing is waited for that the
        backend does not wait for itself, and what the next step does to its variables does not reach it. None where
        these cannot be taken so."""

    def before_run(self, variables: Sequence[Any]) -> list[NDArray] | None:
        """Called while a step is traced: copies of what variables hold before it runs. None where nothing is traced
        now, or where they do not hold anything yet."""

    def distribution(self, model: Any) -> Distribution | None:
        """How the model's training is spread, where each replica computes its own share of a batch; None where one
        computes all of it."""

    def adds_in_order(self, model: Any) -> bool:
        """Whether the same step on the same numbers gives the same bits on the model's device."""

    def copies(self, variables: Variables) -> Sequence[tuple[int, int]]:
        """(index in `variables.all`, replica) of variables that replicas may change each for itself, beyond the first
        replica's. `live` appends their contents to `Live.variables`, in this order."""

    def shares(self, data: Any) -> tuple[int, ...] | None:
        """The rows of each replica's part of a batch, None where it is in one piece. `view` joins the parts.

        Raises ValueError where the arrays of the batch are split in different ways."""

    def view(self, value: Any) -> NDArray:
        """`value` as a NumPy array. May share memory with the device buffer: read it at once and do not keep it."""

    def composite(self, value: Any) -> Composite | None:
        """A ragged, sparse or string value of a batch; None for what `view` gives as one array."""

    def generator_state(self) -> NDArray | None:
        """State of the process-wide random generator that layers draw from, or None where they keep seeds in
        variables."""
