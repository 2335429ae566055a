"""What replay asks of the framework that made a trace. The rest of replay knows no framework: each has an engine, the
first of which is `diagnose.replay.keras`.

Where an engine cannot do what it is asked, with the model it has or at all, it raises ReplayError with the reason, and
so it does where the user's own code raises (`diagnose.result.problems.users_code`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from diagnose.replay.blocks import Passed
from diagnose.replay.recorded import OptimizerStart
from diagnose.replay.runs import BatchRun, EvaluationData
from diagnose.tracefile.model import Batch, NDArray
from diagnose.tracefile.reader import Trace

Value: TypeAlias = Any
"""An array as the engine holds it: on a device, if it has one. Made by `Engine.value`, read by `Engine.array`."""


@dataclass(frozen=True, slots=True)
class Mode:
    """The factors in inference mode, and whether the rest of the model trains."""

    inference: frozenset[str]
    training: bool


TRAINING = Mode(frozenset(), True)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one batch left behind: metric state, the values of the carried variables, the penalties in its loss (None:
    the step does not tell), and the logs of a step of the user's own."""

    metrics: list[Value]
    left: list[Value]
    penalties: Value | None = None
    logs: Mapping[str, Any] | None = None


Began: TypeAlias = tuple[NDArray | None, tuple[int, int] | None]
"""The state of process-wide random generators, and that of Keras's global seed generator; None: there is none."""


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Where a pass with finite weights and rows first made NaN or infinity: in a "layer" (its `name` and `kind`), in
    the "loss", whose outputs are finite (`zeros`: those of its rows hold exact zeros), or in neither: then in the
    "update" that follows. `rows`: their places in the batch."""

    cause: Literal["layer", "loss", "update"]
    rows: tuple[int, ...] = ()
    name: str | None = None
    kind: str | None = None
    zeros: bool = False


class Retrainer(Protocol):
    """Runs the train step itself, updates included, on given values."""

    began: Began
    """What the last step drew its random numbers from."""

    def start(self, variables: Sequence[NDArray], optimizer: OptimizerStart) -> None:
        """Before the first step of an epoch. Metrics are as after a reset."""

    def change(self, variables: Sequence[NDArray]) -> None:
        """What something else than a step made of the variables, between two steps."""

    def step(
        self, batch: Batch, generator: NDArray | None, metrics: Sequence[Value] | None
    ) -> tuple[list[NDArray], list[NDArray]]:
        """One train step: the contents of the variables, and the metric state, after it.

        Args:
            generator: the recorded state of process-wide random generators; None: what the step before left.
            metrics: the metric state before; None: what the step before left.
        """


class Engine(Protocol):
    """One model, opened for one trace. Nothing it is asked changes the model or what it is asked next."""

    shapes: list[tuple[int, ...]]
    """Of the variables, in the order of the header's."""
    switches: frozenset[str]
    """The factors of a ledger (such as "dropout") that it can put into inference mode, each by itself."""
    carried: tuple[int, ...]
    """Places of variables that one pass hands to the next."""
    dtypes: frozenset[str]
    """Those it computes in; the coarsest decides how close a replayed value must come."""
    own_train: bool
    """Whether the train step is the user's code, run as it is: then what it returns counts, too."""
    own_test: bool
    """The same of the step that evaluates."""
    evaluate_draws: bool
    """Whether its last `evaluate` was seen to draw random numbers that the next would not draw again."""
    batch_size: int
    """What `evaluate` takes for arrays when it is given none."""
    fixed_size: int | None
    """The only number of rows that a batch may have, where the model takes no other."""
    replicas: int
    """On how many `evaluate` runs, here and now."""
    retrainer: Retrainer | None
    """Without one, versions that were not kept stay unknown."""

    def value(self, array: NDArray) -> Value:
        """An array as the engine holds it."""

    def array(self, value: Value) -> NDArray:
        """A NumPy copy of it."""

    def fresh(self) -> list[Value]:
        """Metric state right after a reset: some arrays, to which each batch of a mean or a count adds."""

    def read_metrics(self, raw: bytes) -> list[NDArray] | None:
        """Recorded metric state; None if it belongs to other metrics."""

    def forward(
        self,
        run: BatchRun,
        metrics: Sequence[Sequence[Value]],
        modes: Sequence[Mode],
        left: Sequence[Sequence[Value] | None] | None = None,
    ) -> list[Pass]:
        """One batch, in several modes side by side.

        Args:
            metrics: metric state, for each mode.
            left: the values of the carried variables, for each mode; None: those in the run's own values.
        """

    def forward_all(
        self,
        runs: Sequence[BatchRun],
        metrics: Sequence[Sequence[Value]],
        modes: Sequence[Mode],
        carry: Sequence[bool],
        left: Sequence[Sequence[Value] | None],
    ) -> Passed:
        """Batches one after the other, each from the metric state that the one before left (`one_by_one`, or
        what is the same, faster).

        Args:
            carry: for each mode, whether what a pass left in the carried variables is handed to the next.
            left: that for the first.
        """

    def results_of(self, states: Sequence[Sequence[NDArray]]) -> list[dict[str, float]]:
        """`results` of each of some metric states."""

    def results(self, metrics: Sequence[Value], logs: Mapping[str, Any] | None = None) -> dict[str, float]:
        """What the metrics report in this state, by their names in the logs.

        Args:
            logs: what a step of the user's own returned last.
        """

    def pooled(self, metric: str) -> bool | None:
        """Whether a metric is the same, up to float rounding, for any split of the same rows into batches. None: not
        known."""

    def evaluate(
        self, arrays: Sequence[NDArray], data: EvaluationData, copies: Mapping[tuple[int, int], NDArray]
    ) -> dict[str, float]:
        """The framework's own evaluation of given contents of the variables, as the user would call it. The other end
        of the ledger: where it is not `forward` in inference mode over again, it proves it.

        Args:
            copies: what further replicas hold for themselves, by (index of the variable, replica).
        """

    def predictions(self, run: BatchRun) -> list[NDArray]:
        """The model's outputs for a batch in inference mode, in the order of the header's."""

    def compiled_as(self, parts: Mapping[str, Any]) -> AbstractContextManager[Engine]:
        """Within: an engine of the same model whose values are computed by these parts of another compilation."""

    def masks(self, run: BatchRun) -> list[NDArray | None]:
        """Which steps of the outputs for a batch count (True) and which are masked; None for an output without."""

    def not_finite(self, run: BatchRun) -> NotFinite:
        """Where a batch in training mode makes a number that is not finite."""

    def unrecorded(self) -> str | None:
        """What train steps work with and no trace holds, as a reason why steps come out otherwise."""


def metric_values(engine: Engine, raw: bytes) -> list[Value] | None:
    """Recorded metric state as the engine holds it; None if it belongs to other metrics."""
    arrays = engine.read_metrics(raw)
    return None if arrays is None else [engine.value(array) for array in arrays]


def one_by_one(
    engine: Engine,
    runs: Iterable[BatchRun],
    metrics: Sequence[Sequence[Any]],
    modes: Sequence[Mode],
    carry: Sequence[bool],
    left: Sequence[Sequence[Any] | None],
) -> Passed:
    """`Engine.forward` over each batch in turn (see `Engine.forward_all`)."""
    done = Passed([list(each) for each in metrics], list(left), logs=[None] * len(modes))
    for run in runs:
        passes = engine.forward(run, done.metrics, modes, done.left)
        done.metrics = [each.metrics for each in passes]
        done.left = [each.left if on else None for each, on in zip(passes, carry, strict=True)]
        done.logs = [each.logs for each in passes]
        done.penalties.append([None if p.penalties is None else float(engine.array(p.penalties)) for p in passes])
        done.each.append([engine.array(m) for m in done.metrics[0]])
    return done


class EngineFactory(Protocol):
    """Opens the engine of a trace. It pickles, so that other processes can replay."""

    @property
    def batch_size(self) -> int:
        """What `evaluate` uses for arrays when it gets no batch size."""

    def arrays(self, tree: Any) -> Any:
        """A tree of the user's data as NumPy arrays, in the dtypes that steps get them in."""

    def open(self, trace: Trace) -> AbstractContextManager[Engine]:
        """Within: the engine. After, however it ends: the user's model as it was.

        Raises:
            ReplayError: the model cannot be replayed. On leaving: something could not be put back; all the rest was.
        """
