"""A small trace that uses every kind of record, and plain comparable views of traces for tests."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.tracefile import format as fmt
from diagnose.tracefile.digest import array_digest, group_digest, row_digests
from diagnose.tracefile.model import BatchRef, Leaf, Signature
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.writer import TraceWriter

SIGNATURE = Signature(
    {"x": {"dict": {"image": {"leaf": 0}, "mask": {"leaf": 2}}}, "y": {"tuple": [{"leaf": 1}, {"none": True}]}},
    (Leaf("float32", (3, 2)), Leaf("int64", ()), Leaf("bool", (4,), whole=True)),
)
IMAGES = np.arange(30, dtype=np.float32).reshape(5, 3, 2) / 7
LABELS = np.array([3, 1, 4, 1, 5])
MASK = np.array([True, False, True, True])
WEIGHTS = (np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), np.array(7, np.int64), np.zeros((0, 3), np.float64))
NONE = group_digest([])


def write_sample(
    path: Path, *, seal: str | None = "complete", steps: int = 3, page_bytes: int = fmt.PAGE_BYTES
) -> None:
    """Writes the sample; without `seal` the file is closed as an interrupted recording."""
    with TraceWriter(path, page_bytes=page_bytes) as writer:
        fill(writer, steps)
        if seal is not None:
            writer.seal(seal)


def fill(writer: TraceWriter, steps: int = 3) -> None:
    """Writes all records of the sample."""
    writer.info("keras", "3.15.1")
    writer.info("fit", {"epochs": 2, "odd": [float("nan"), float("inf"), None, True]})
    signature = writer.signature(SIGNATURE)
    packed = pack_rows([IMAGES, LABELS])
    writer.rows(signature, row_digests(packed[:3]), packed[:3])
    writer.rows(signature, row_digests(packed[3:]), packed[3:])
    digests_only = writer.rows(signature, [b"\1" * 16, b"\2" * 16], None)
    mask = writer.array(MASK)
    sample_weight = writer.array(np.array([0.5, 2.0], np.float32))
    generator = writer.array(np.arange(16, dtype=np.uint8))
    for step in range(steps):
        arrays = [writer.array(weights + step if weights.size else weights) for weights in WEIGHTS]
        slots = [writer.array(np.full(2, step, np.float32))]
        state = writer.state(
            version=step + 1, label="update", trainable=group_digest(arrays[:1]),
            non_trainable=group_digest(arrays[1:]), seeds=NONE, optimizer=group_digest(slots), arrays=arrays,
            optimizer_arrays=slots, kept=True,
        )  # fmt: skip
        batch = BatchRef(signature, np.array([4, step % 5]), sample_weight, (mask,))
        writer.step(
            step=step, epoch=1 + step // 2, batch_index=step % 2, batch=batch,
            metrics_before=None if step == 0 else b"before", metrics_after=b"after!", generator=generator, seconds=0.25,
        )  # fmt: skip
        if step % 2:
            batches = writer.batches([batch, BatchRef(None, np.array([-1]), missing="a generator")])
            writer.evaluation(epoch=1, after_step=step, state=state, batches=batches, logs={"loss": float("nan")})
            writer.epoch(
                epoch=1 + step // 2, first_version=step - 1, last_version=step + 1, logs={"loss": 0.1, "acc": 1},
                state=state, learning_rate=0.001, seconds=1.5,
            )  # fmt: skip
            writer.commit(sync=True)
    final = writer.state(
        version=None, label="final", trainable=NONE, non_trainable=NONE, seeds=NONE, optimizer=None,
        arrays=[array_digest(np.ones(3))], optimizer_arrays=None, kept=False,
    )  # fmt: skip
    writer.step(
        step=steps, epoch=2, batch_index=9, generator=None, seconds=0.0,
        batch=BatchRef(signature, np.array([digests_only])), metrics_before=None, metrics_after=None,
    )  # fmt: skip
    writer.event("weights-changed", {"callback": "EarlyStopping", "before": 0, "after": 1}, epoch=2)
    writer.event("train-end", {"state": final})


def plain(value: Any) -> Any:
    """Dataclasses, arrays and floats as nested tuples that compare equal exactly if every bit does (NaN included)."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(plain(getattr(value, f.name)) for f in dataclasses.fields(value)))
    if isinstance(value, Mapping):
        return tuple((key, plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *(plain(item) for item in value))
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    return (type(value).__name__, value)


def everything(trace: Trace) -> Any:
    """All that a reader can get out of a trace, contents included. Raises whatever reading them raises."""
    return plain(
        {
            "info": trace.info,
            "status": (trace.sealed, trace.status),
            "states": trace.states,
            "steps": trace.steps,
            "epochs": trace.epochs,
            "evaluations": trace.evaluations,
            "events": trace.events,
            "signatures": trace.signatures,
            "weights": [trace.arrays(state) for state in trace.states if state.kept],
            "optimizer": [trace.array(d) for state in trace.states for d in state.optimizer_arrays or ()],
            "generators": [trace.array(step.generator) for step in trace.steps if step.generator],
            "batches": [trace.batch(step.batch) for step in trace.steps[:-1]],
            "lists": [trace.batches(e.batches) for e in trace.evaluations if e.batches],
            "rows": [trace.row_digest(row) for row in range(7)],
            "diagnosis": trace.diagnosis(),
        }
    )
