"""`max_bytes` is a bound: file and journal together, at every moment; and what is left out is said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.errors import UsageError
from diagnose.record import budget
from diagnose.record.batches import TakenBatch
from diagnose.record.budget import Budget, SharedBytes, Tier, TraceFull
from diagnose.record.encoder import Encoder
from diagnose.record.items import (
    EpochItem,
    EvaluationBatchItem,
    EvaluationItem,
    InfoItem,
    Item,
    Snapshot,
    StateItem,
    StepItem,
    TrainEndItem,
)
from diagnose.record.least import LEAST_BYTES
from diagnose.tracefile.journal import journal_path
from diagnose.tracefile.model import Leaf, Signature
from diagnose.tracefile.reader import Trace, read_trace
from diagnose.tracefile.store import TraceStore
from diagnose.tracefile.writer import TraceWriter

SIGNATURE = Signature({"x": {"leaf": 0}, "y": {"none": True}}, (Leaf("float32", (8,)),))
BATCH = 16


def on_disk(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, journal_path(path)) if p.exists())


def variable(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"path": "kernel", "dtype": "float32", "shape": list(shape), "group": "trainable"}


class Watched:
    """The most that file and journal took, looked at after every statement."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
        self.most = 0
        for name in ("_execute", "_flush"):
            original = getattr(TraceStore, name)

            def looked(store: Any, *args: Any, original: Any = original) -> None:
                original(store, *args)
                self.most = max(self.most, sum(on_disk(p) for p in paths))

            monkeypatch.setattr(TraceStore, name, looked)


class Fit:
    """The items of a made-up fit: sizes and habits are drawn, contents are random."""

    def __init__(self, seed: int) -> None:
        draw = self.draw = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.shapes = [(draw.choice([1, 7, 64, 900]), draw.choice([1, 3, 40])) for _ in range(draw.randint(1, 12))]
        self.steps = draw.choice([1, 5, 40])
        self.clips = draw.random() < 0.4
        self.validates = draw.random() < 0.5
        self.fresh_rows = draw.random() < 0.5
        self.slots = draw.choice([0, 2])
        self.rows = self.numpy.random((BATCH, 8)).astype("float32")
        self.logs: dict[int, dict[str, float]] = {}

    def weights(self) -> list[Any]:
        return [self.numpy.random(shape).astype("float32") for shape in self.shapes]

    def batch(self) -> TakenBatch:
        rows = self.numpy.random((BATCH, 8)).astype("float32") if self.fresh_rows else self.rows
        return TakenBatch(SIGNATURE, [rows], None, BATCH)

    def items(self, epochs: int) -> Iterator[Item]:
        yield InfoItem("variables", [variable(shape) for shape in self.shapes])
        now = self.weights()
        yield StateItem("on_train_begin", None, None, 0, Snapshot(now))
        step = 0
        for epoch in range(1, epochs + 1):
            first = step
            for index in range(self.steps):
                now = self.weights()
                yield StepItem(step, epoch, index, self.batch(), b"\0" * 8, b"\1" * 8, None, 0.1, Snapshot(now))
                step += 1
                if self.clips:
                    now = self.weights()
                    yield StateItem("on_train_batch_end", "Clip", epoch, step, Snapshot(now))
            if self.validates:
                for _ in range(3):
                    yield EvaluationBatchItem(epoch, self.batch())
                yield EvaluationItem(epoch, epoch, step, {"loss": 1.0})
            self.logs[epoch] = {"loss": self.draw.random()}
            optimizer = [a for _ in range(self.slots) for a in self.weights()]
            self.ended = (epoch, step, now)
            yield EpochItem(epoch, first, step, self.logs[epoch], 0.1, 1.0, Snapshot(now), Snapshot(optimizer))
        yield TrainEndItem(Snapshot(now), [])


def record(path: Path, fit: Fit, budget: Budget, epochs: int) -> tuple[bool, int]:
    """Writes a fit's items as the worker does. Returns whether the trace took all, and the last epoch it was given."""
    writer = TraceWriter(path, page_bytes=budget.page_bytes())
    encoder = Encoder(writer, budget, every_update=True)
    given, whole = 0, True
    for number, item in enumerate(fit.items(epochs)):
        try:
            encoder.handle(item)
        except TraceFull as full:
            writer.event("tracing-stopped", {"reason": str(full)})
            whole = False
            break
        given = item.epoch if isinstance(item, EpochItem) else given
        if number % 20 == 0:
            writer.commit()
    writer.seal("complete" if whole else "failed")
    encoder.closed()
    return whole, given


def check(trace: Trace, fit: Fit, whole: bool, given: int) -> None:
    """What must be there is there, what is missing is said."""
    said = {e.detail.what for e in trace.events if e.kind == "limit"}
    assert [(e.epoch, dict(e.logs)) for e in trace.epochs] == [(n, fit.logs[n]) for n in range(1, given + 1)]
    for epoch in trace.epochs:
        assert epoch.last_version == epoch.first_version + fit.steps
        assert trace.version(epoch.last_version) is not None
        recorded = sum(step.epoch == epoch.epoch for step in trace.steps)
        assert recorded == (0 if epoch.epoch in trace.unrecorded else fit.steps)
        assert trace.states[epoch.state].kept or Tier.EPOCH_ENDS.value in said
    assert not trace.unrecorded or Tier.STEPS.value in said
    versions = [s for s in trace.states if s.label == "version" and s.version]
    assert Tier.UPDATES.value in said or Tier.STEPS.value in said or all(s.kept for s in versions)
    stopped = [e for e in trace.events if e.kind == "tracing-stopped"]
    assert (len(stopped) == 1) is not whole
    for state in trace.states:
        if state.kept:
            trace.arrays(state)  # raises where one is not there


@pytest.mark.parametrize("seed", range(12))
def test_file_and_journal_never_take_more_than_max_bytes(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, path = Fit(seed), tmp_path / "fit.diag"
    limit = LEAST_BYTES + random.Random(seed).choice([0, 1000, 300_000, 3 << 20])
    watched = Watched(monkeypatch, path)
    whole, given = record(path, fit, Budget(nbytes=limit), epochs=400 // fit.steps + 5)
    assert LEAST_BYTES // 8 < watched.most <= limit
    with read_trace(path) as trace:
        check(trace, fit, whole, given)


def test_a_long_fit_goes_on_with_logs_and_digests_until_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, path = Fit(3), tmp_path / "fit.diag"
    fit.steps, fit.shapes, fit.validates, fit.clips, fit.fresh_rows = 30, [(40, 40)], False, True, True
    watched = Watched(monkeypatch, path)
    whole, given = record(path, fit, Budget(nbytes=LEAST_BYTES), epochs=2000)
    assert watched.most <= LEAST_BYTES and not whole
    with read_trace(path) as trace:
        check(trace, fit, whole, given)
        said = [e.detail.what for e in trace.events if e.kind == "limit"]
        assert said == [t.value for t in Tier if t is not Tier.REST]
        left = [e for e in trace.epochs if not trace.states[e.state].kept]
        assert len(left) > 50 and trace.unrecorded >= {e.epoch for e in left}
        (full,) = [e.detail.reason for e in trace.events if e.kind == "tracing-stopped"]
        assert full == "the trace may take 1 MiB, and it is full."


def test_weights_larger_than_the_bound_are_left_out_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, path = Fit(0), tmp_path / "fit.diag"
    fit.shapes, fit.steps, fit.clips = [(1000, 1000)], 3, False
    watched = Watched(monkeypatch, path)
    whole, given = record(path, fit, Budget(nbytes=LEAST_BYTES), epochs=4)
    assert watched.most <= LEAST_BYTES and whole and given == 4
    with read_trace(path) as trace:
        check(trace, fit, whole, given)
        assert not any(s.kept for s in trace.states) and len(trace.steps) == 12


@pytest.mark.parametrize("seed", range(4))
def test_traces_with_a_shared_limit_stay_below_it_together(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedBytes(2 * LEAST_BYTES + 100_000 * seed)
    paths = [tmp_path / f"fit-{n}.diag" for n in range(12)]
    watched = Watched(monkeypatch, *paths)
    refused = 0
    for n, path in enumerate(paths):
        fit = Fit(100 * seed + n)
        fit.steps = 5
        try:
            whole, given = record(path, fit, Budget(nbytes=LEAST_BYTES, shared=shared), epochs=20)
        except TraceFull as full:
            assert "all fits of this run together may take" in str(full)
            refused += 1
            continue
        with read_trace(path) as trace:
            check(trace, fit, whole, given)
    assert watched.most <= shared.nbytes and refused
    assert sum(on_disk(p) for p in paths) == shared.used


def test_a_trace_of_large_pages_stays_below_its_bound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "SMALL_BYTES", 0)
    fit, path = Fit(2), tmp_path / "fit.diag"
    fit.steps, fit.shapes, fit.fresh_rows = 20, [(300, 40), (7, 3)], True
    watched = Watched(monkeypatch, path)
    whole, given = record(path, fit, Budget(nbytes=8 * LEAST_BYTES), epochs=60)
    assert 2 * LEAST_BYTES < watched.most <= 8 * LEAST_BYTES
    with read_trace(path) as trace:
        check(trace, fit, whole, given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(nbytes=LEAST_BYTES - 1),
        lambda: SharedBytes(0),
        lambda: Tracer(max_bytes=LEAST_BYTES - 1),
        lambda: diagnose.trace(max_bytes=1),
    ],
)
def test_less_than_a_mebibyte_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="at least 1 MiB"):
        make()
