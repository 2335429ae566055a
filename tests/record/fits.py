"""Small fits for tests of the recorder, and plain copies of what a model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from diagnose import Tracer, read_trace
from diagnose.tracefile.model import State
from diagnose.tracefile.reader import Trace

BACKEND = keras.config.backend()


def rows(n: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype("float32")
    return x, (x @ [[1.0], [-2.0], [0.5]] + 0.1 * rng.normal(size=(n, 1))).astype("float32")


def linear(optimizer: Any = None, **compiled: Any) -> Any:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="tanh"), keras.layers.Dense(1)])
    model.compile(**{"optimizer": optimizer or keras.optimizers.SGD(0.1), "loss": "mse", **compiled})
    return model


def held(model: Any) -> list[np.ndarray]:
    """Copies of all model variables."""
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.variables]


def fit(
    path: Path, *callbacks: Any, model: Any = None, tracer_at: int | None = None, **arguments: Any
) -> tuple[Trace, Any]:
    """Fits with a tracer among the callbacks (last by default); returns its trace and the model."""
    model = model or linear()
    tracer = Tracer(path / "fit.diag")
    listed = list(callbacks)
    listed.insert(len(listed) if tracer_at is None else tracer_at, tracer)
    x, y = rows()
    model.fit(**{"x": x, "y": y, "batch_size": 4, "epochs": 2, "verbose": 0, **arguments}, callbacks=listed)
    return read_trace(tracer.path), model


def same(trace: Trace, state: State, arrays: list[np.ndarray]) -> bool:
    """Whether a recorded state has these contents, bit for bit."""
    recorded = trace.arrays(state)
    return len(recorded) == len(arrays) and all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(recorded, arrays, strict=True)
    )


def events(trace: Trace, kind: str) -> list[tuple[Any, ...]]:
    """(callback, hook, epoch) of the events of one kind, in order."""
    return [(e.detail.callback, e.detail.hook, e.epoch) for e in trace.events if e.kind == kind]


def final(trace: Trace) -> State:
    (end,) = [e for e in trace.events if e.kind == "train-end"]
    return trace.states[end.detail.state]
