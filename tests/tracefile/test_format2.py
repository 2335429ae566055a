"""A trace of format 2 (`format2/sample.diag`: what `sample.write_sample(path, steps=5)` wrote in that release, in small
pages) reads as the same records written today."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.tracefile import format as fmt
from diagnose.tracefile.model import BatchRef
from diagnose.tracefile.reader import Trace, read_trace
from diagnose.tracefile.redact import redact
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample

OLD = Path(__file__).parent / "format2" / "sample.diag"


def without_places(trace: Trace) -> Any:
    """All but the places of events in the file, which had more rows then."""
    events = [(e.kind, e.epoch, e.step, sample.plain(e.detail)) for e in trace.events]
    found = dict(sample.everything(trace))
    return {**found, "events": events}


def test_a_trace_of_format_2_holds_what_one_of_today_does(tmp_path: Path) -> None:
    sample.write_sample(tmp_path / "new.diag", steps=5)
    with read_trace(OLD) as old, read_trace(tmp_path / "new.diag") as new:
        assert (old.format, new.format) == (2, fmt.VERSION)
        assert without_places(old) == without_places(new)


def test_a_redacted_one_keeps_its_format(tmp_path: Path) -> None:
    path = Path(shutil.copy(OLD, tmp_path / "a.diag"))
    redact(path, tmp_path / "b.diag")
    with read_trace(path) as before, read_trace(tmp_path / "b.diag") as after:
        assert after.format == 2 and after.header.withheld
        assert sample.plain(after.steps) == sample.plain(before.steps)
        assert sample.plain(after.states) == sample.plain(before.states)


@pytest.mark.parametrize("committed", [False, True])
def test_steps_come_back_as_they_were_however_blocks_lie(tmp_path: Path, committed: bool) -> None:
    """Steps that follow each other, a shorter batch, another epoch, metrics that were reset, with and without weights,
    generators and the reason why a batch is missing: each as it was written, whatever shares a row with it."""
    rng = np.random.default_rng(5)
    states = [bytes(rng.integers(0, 256, 8, np.uint8)) for _ in range(5)]
    written: list[dict[str, Any]] = []
    with TraceWriter(tmp_path / "a.diag") as writer:
        signature = writer.signature(sample.SIGNATURE)
        writer.rows(signature, [bytes([n]) * 16 for n in range(9)], None)
        step = epoch = place = 0
        last: bytes | None = None
        for _ in range(400):
            if rng.random() < 0.05:
                epoch, place, last = epoch + 1, 0, None
            step += int(rng.random() < 0.02)  # one that was left out
            size = 4 if rng.random() < 0.97 else int(rng.integers(0, 6))
            before = last if rng.random() < 0.9 else [None, *states][rng.integers(0, 6)]
            after = [None, *states][rng.integers(0, 6)]
            missing = None if rng.random() < 0.99 else "a generator"
            weight = bytes([7]) * 16 if epoch % 3 == 0 else None
            batch = BatchRef(signature, rng.integers(-1, 9, size), weight, (bytes([8]) * 16,) * (epoch % 2), missing)
            one = {
                "step": step, "epoch": epoch, "batch_index": place, "batch": batch, "metrics_before": before,
                "metrics_after": after, "generator": bytes([9]) * 16 if epoch % 4 == 0 else None,
                "seconds": float(rng.random()),
            }  # fmt: skip
            writer.step(**one)
            written.append(one)
            step, place, last = step + 1, place + 1, after
            if committed and rng.random() < 0.1:
                writer.commit()
        writer.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace:
        found = [{name: getattr(each, name) for name in one} for each, one in zip(trace.steps, written, strict=True)]
        assert sample.plain(found) == sample.plain(written)
        assert all((s.computed_at, s.produced) == (s.step, s.step + 1) for s in trace.steps)


def test_what_waited_for_its_block_is_in_a_file_that_is_read_while_it_is_written(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    state = {"trainable": sample.NONE, "non_trainable": sample.NONE, "seeds": sample.NONE, "optimizer": None}
    for n in range(70):
        batch = BatchRef(None, np.empty(0, np.int64), missing="none")
        writer.step(
            step=n, epoch=1, batch_index=n, batch=batch, metrics_before=None, metrics_after=None, generator=None,
            seconds=0.0,
        )  # fmt: skip
        number = writer.state(
            version=n + 1, label="version", arrays=[bytes([n]) * 16], optimizer_arrays=None, kept=False, **state
        )
        assert number == n
    writer.commit()
    with read_trace(tmp_path / "a.diag") as trace:
        assert [s.step for s in trace.steps] == list(range(70))
        assert [(s.state, s.version, s.arrays) for s in trace.states] == [
            (n, n + 1, (bytes([n]) * 16,)) for n in range(70)
        ]
    writer.close()
