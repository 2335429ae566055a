"""A validation pass is recorded batch by batch: nothing holds the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.record.budget import Budget
from diagnose.record.encoder import Encoder
from diagnose.record.items import EvaluationBatchItem, EvaluationItem, nbytes
from diagnose.record.worker import Worker
from diagnose.tracefile.writer import TraceWriter
from tests.record.fits import linear, rows
from tests.record.test_budget import Fit

BATCH = 500


def test_no_item_holds_more_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    put = Worker.put

    def noted(self: Worker, item: Any) -> None:
        # Also what another kind of item would hold: anything in a list in it.
        held = [a for v in vars_of(item) if isinstance(v, list) for b in v for a in getattr(b, "leaves", [])]
        sizes.append(nbytes(item) + sum(a.nbytes for a in held))
        put(self, item)

    monkeypatch.setattr(Worker, "put", noted)
    x, y = rows()
    vx, vy = rows(20 * BATCH, seed=1)
    tracer = Tracer(tmp_path / "fit.diag")
    linear().fit(x, y, epochs=2, verbose=0, callbacks=[tracer], validation_data=(vx, vy), validation_batch_size=BATCH)
    assert max(sizes) < 2 * BATCH * 16 + 10_000 < vx.nbytes + vy.nbytes
    with read_trace(tracer.path) as trace:
        assert len(trace.evaluations) == 2
        for evaluation in trace.evaluations:
            assert evaluation.batches is not None
            batches = [trace.batch(ref) for ref in trace.batches(evaluation.batches)]
            assert np.concatenate([b.x for b in batches]).tobytes() == vx.tobytes()
            assert np.concatenate([b.y for b in batches]).tobytes() == vy.tobytes()


def vars_of(item: Any) -> list[Any]:
    return [getattr(item, name) for name in getattr(item, "__dataclass_fields__", ())]


def test_a_pass_that_raised_leaves_nothing_in_the_next(tmp_path: Path) -> None:
    fit = Fit(0)
    fit.fresh_rows = True
    with TraceWriter(tmp_path / "a.diag") as writer:
        encoder = Encoder(writer, Budget(), every_update=True)
        for item in list(fit.items(1))[:2]:
            encoder.handle(item)
        batches = [fit.batch() for _ in range(6)]
        for number, batch in ((1, 0), (1, 1), (2, 2), (2, 3)):
            encoder.handle(EvaluationBatchItem(number, batches[batch]))
        encoder.handle(EvaluationItem(2, 1, 0, {}))
        encoder.handle(EvaluationBatchItem(3, batches[4]))
        encoder.handle(EvaluationItem(4, 1, 0, {}))
    with read_trace(tmp_path / "a.diag") as trace:
        first, second = trace.evaluations
        assert first.batches is not None and second.batches is None
        found = [trace.batch(ref).x.tobytes() for ref in trace.batches(first.batches)]
        assert found == [batches[2].leaves[0].tobytes(), batches[3].leaves[0].tobytes()]
