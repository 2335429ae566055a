"""A linear model in NumPy, its training loop and its engine: replay without any framework. Imports no Keras."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.replay.blocks import Passed
from diagnose.replay.engine import Began, Mode, Pass, one_by_one
from diagnose.replay.recorded import OptimizerStart
from diagnose.replay.runs import BatchRun, EvaluationData
from diagnose.tracefile.digest import array_digest, group_digest, row_digests
from diagnose.tracefile.model import Batch, BatchRef, Leaf, NDArray, Signature
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.writer import TraceWriter

ROWS, RATES = 8, (0.1, 0.1, -0.4, -0.2)
"""The learning rate of each epoch: in the last two the loss grows."""
START = np.array([[0.3], [-0.2], [0.1]])


def data() -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, 3))
    return x, x @ [[1.0], [-2.0], [0.5]] + rng.normal(size=(ROWS, 1)) / 4


def errors(w: NDArray, x: NDArray, y: NDArray, *, halved: bool) -> NDArray:
    """In training, inputs are halved, as a layer might that differs in inference."""
    return np.asarray((x / 2 if halved else x) @ w - y)


def updated(w: NDArray, x: NDArray, y: NDArray, rate: float) -> NDArray:
    """After a step of gradient descent on the mean squared error."""
    return np.asarray(w - rate * 2 * (x / 2).T @ errors(w, x, y, halved=True) / len(x))


class Linear:
    """The engine. Metric state: the sum of squared errors, and the number of rows."""

    switches = frozenset({"dropout"})
    carried: tuple[int, ...] = ()
    dtypes = frozenset({"float64"})
    own_train = own_test = False
    batch_size = 32
    fixed_size = None
    evaluate_draws = False
    replicas = 1
    value = array = staticmethod(np.array)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = [(3, 1)]
        self.retrainer = Descent(self)

    def fresh(self) -> list[NDArray]:
        return [np.zeros(()), np.zeros(())]

    def read_metrics(self, raw: bytes) -> list[NDArray] | None:
        return [np.array(v) for v in np.frombuffer(raw)] if len(raw) == 16 else None

    def forward(
        self, run: BatchRun, metrics: Sequence[Sequence[NDArray]], modes: Sequence[Mode], left: Any = None
    ) -> list[Pass]:
        (w,), x, y = run.values[0], run.batch.x, run.batch.y
        found = []
        for (total, count), mode in zip(metrics, modes, strict=True):
            wrong = errors(w, x, y, halved="dropout" not in mode.inference)
            found.append(Pass([total + np.sum(wrong**2), count + len(x)], []))
        return found

    def forward_all(self, *arguments: Any) -> Passed:
        return one_by_one(self, *arguments)

    def results_of(self, states: Sequence[Sequence[NDArray]]) -> list[dict[str, float]]:
        return [self.results(state) for state in states]

    def results(self, metrics: Sequence[NDArray], logs: Any = None) -> dict[str, float]:
        return {"loss": float(metrics[0] / metrics[1])}

    def pooled(self, metric: str) -> bool:
        return True

    def evaluate(self, arrays: Sequence[NDArray], data: EvaluationData, copies: Mapping[Any, Any]) -> dict[str, float]:
        wrong = [errors(arrays[0], batch.x, batch.y, halved=False) for batch in data.batches]
        return {"loss": float(np.mean(np.concatenate(wrong) ** 2))}

    def unrecorded(self) -> None:
        return None


class Descent:
    """The engine's train step."""

    began: Began = None, None

    def __init__(self, engine: Linear) -> None:
        self._engine = engine

    def start(self, variables: Sequence[NDArray], optimizer: OptimizerStart) -> None:
        (self._w,), self._rate, self._metrics = variables, optimizer.rate or 0.0, self._engine.fresh()

    def change(self, variables: Sequence[NDArray]) -> None:
        (self._w,) = variables

    def step(self, batch: Batch, generator: Any, metrics: Any) -> tuple[list[NDArray], list[NDArray]]:
        run = BatchRun([[self._w]], batch, None, None, True)
        (done,) = self._engine.forward(run, [metrics or self._metrics], [Mode(frozenset(), True)])
        self._w, self._metrics = updated(self._w, batch.x, batch.y, self._rate), done.metrics
        return [self._w], self._metrics


class LinearFactory:
    batch_size = 4

    def arrays(self, tree: Any) -> NDArray:
        return np.asarray(tree)

    @contextlib.contextmanager
    def open(self, trace: Trace) -> Iterator[Linear]:
        yield Linear()


STOPPING = {
    "class": "EarlyStopping", "bases": [], "builtin": True, "hooks": [], "thresholds": [],
    "settings": {"monitor": "loss", "mode": "min", "monitor_op": "less", "restore_best_weights": True},
}  # fmt: skip


def record(path: Path, *, batch: int, every_update: bool = True) -> None:
    """Trains, and writes the trace by hand: at the end the weights of the epoch with the lowest loss are put back.

    Args:
        every_update: keep the weights after every update, not only those at the ends of epochs.
    """
    x, y = data()
    with TraceWriter(path) as writer:
        writer.info("framework", "numpy")
        writer.info("backend", "numpy")
        writer.info("fit", {"number": 1, "arguments": {"epochs": len(RATES), "batch_size": batch}})
        writer.info("callbacks", [STOPPING])
        writer.info("variables", [{"path": "w", "dtype": "float64", "shape": [3, 1], "group": "trainable"}])
        scalar = {"metric": "loss", "dtype": "float64", "shape": [], "log": "loss", "of_loss": True}
        writer.info("metric_variables", [{**scalar, "name": name} for name in ("total", "count")])
        writer.info("optimizer_variables", [])
        writer.info("batch_axis", "fixed")
        leaves = (Leaf("float64", (3,)), Leaf("float64", (1,)))
        signature = writer.signature(Signature({"x": {"leaf": 0}, "y": {"leaf": 1}}, leaves))
        packed = pack_rows([x, y])
        writer.rows(signature, row_digests(packed), packed)

        def state(version: int | None, label: str, w: NDArray, kept: bool) -> int:
            digest = writer.array(w) if kept else array_digest(w)
            none = group_digest([])
            return writer.state(
                version=version, label=label, trainable=group_digest([digest]), non_trainable=none, seeds=none,
                optimizer=none, arrays=[digest], optimizer_arrays=[], kept=kept,
            )  # fmt: skip

        w, step, ends, losses = START, 0, [], []
        state(0, "version", w, True)
        for epoch, rate in enumerate(RATES, 1):
            metrics = np.zeros(2)
            for index, start in enumerate(range(0, ROWS, batch)):
                rows = slice(start, start + batch)
                before = metrics.tobytes()
                wrong = errors(w, x[rows], y[rows], halved=True)
                metrics = metrics + np.array([np.sum(wrong**2), len(wrong)])
                w = updated(w, x[rows], y[rows], rate)
                state(step + 1, "version", w, every_update or start + batch >= ROWS)
                writer.step(
                    step=step, epoch=epoch, batch_index=index,
                    batch=BatchRef(signature, np.arange(start, start + batch)), metrics_before=before,
                    metrics_after=metrics.tobytes(), generator=None, seconds=0.1,
                )  # fmt: skip
                step += 1
            losses.append(float(metrics[0] / metrics[1]))
            ends.append(w)
            writer.epoch(
                epoch=epoch, first_version=step - ROWS // batch, last_version=step, logs={"loss": losses[-1]},
                state=state(step, "epoch-end", w, True), learning_rate=rate, seconds=0.1,
            )  # fmt: skip
        final = state(None, "final", ends[int(np.argmin(losses))], True)
        writer.event("train-end", {"state": final})
        writer.seal("complete")
