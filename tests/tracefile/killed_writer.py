"""Run as a script: writes a trace without end and prints the number of steps after each commit, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from diagnose.tracefile.digest import group_digest, row_digests
from diagnose.tracefile.model import BatchRef, Leaf, Signature
from diagnose.tracefile.writer import TraceWriter

ROW = 3000


def row_of(step: int) -> np.ndarray:
    return np.full((1, ROW), step % 251, np.uint8)


def weights_of(step: int) -> np.ndarray:
    return np.full(40_000, step, np.float32)


def main(path: Path, page_bytes: int) -> None:
    writer = TraceWriter(path, page_bytes=page_bytes)
    signature = writer.signature(Signature({"x": {"leaf": 0}, "y": {"none": True}}, (Leaf("uint8", (ROW,)),)))
    for step in range(10**9):
        row = writer.rows(signature, row_digests(row_of(step)), row_of(step))
        digest = writer.array(weights_of(step))
        group = group_digest([digest])
        writer.state(
            version=step + 1, label="update", trainable=group, non_trainable=group, seeds=group, optimizer=None,
            arrays=[digest], optimizer_arrays=None, kept=True,
        )  # fmt: skip
        writer.step(
            step=step, epoch=1, batch_index=step,
            batch=BatchRef(signature, np.array([row])), metrics_before=None, metrics_after=None, generator=None,
            seconds=0.0,
        )  # fmt: skip
        if step % 3 == 2:
            writer.commit(sync=step % 30 == 29)
            sys.stdout.write(f"{step + 1}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
