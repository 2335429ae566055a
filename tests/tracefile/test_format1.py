"""Traces of format 1 (`format1/make.py`): what the fits themselves said of them is what is read and diagnosed today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.tracefile.reader import Trace, read_trace
from diagnose.tracefile.redact import redact

HERE = Path(__file__).parent / "format1"
FITS: dict[str, dict[str, Any]] = json.loads((HERE / "fits.json").read_text("utf-8"))


@pytest.fixture(params=FITS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(HERE / f"{request.param}.diag", tmp_path))


def same_weights(trace: Trace, fit: dict[str, Any]) -> bool:
    assert trace.final is not None
    held = [np.asarray(w, np.float32) for w in fit["weights"]]
    return all(np.array_equal(a, b) for a, b in zip(trace.arrays(trace.final), held, strict=True))


def test_logs_and_weights_are_those_of_the_fit(path: Path) -> None:
    fit = FITS[path.stem]
    with read_trace(path) as trace:
        assert trace.format == 1
        for name, values in fit["history"].items():
            assert [e.logs[name] for e in trace.epochs] == values
        assert same_weights(trace, fit)


def test_what_stood_in_the_header_stands_with_the_batches(tmp_path: Path) -> None:
    with read_trace(HERE / "unusual.diag") as trace:
        batches = [trace.batch(step.batch) for step in trace.steps[:4]]
        given = np.stack([np.linspace(0, 1, 30, dtype=np.float32), np.ones(30, np.float32)], axis=1)
        got = np.concatenate([np.asarray(b.sample_weight) for b in batches])
        assert np.array_equal(got[np.argsort(got[:, 0])], given)
        assert {json.dumps(b.weight_tree) for b in batches} == {'{"tuple": [{"leaf": 0}, {"leaf": 1}]}'}
        assert not any(b.fixed for b in batches)  # 30 rows in batches of 8
    with read_trace(HERE / "validation.diag") as trace:
        assert all(step.batch.layout.fixed for step in trace.steps)  # 24 rows in batches of 8
        assert trace.evaluations[0].batches is not None
        assert trace.batches(trace.evaluations[0].batches)[0].layout.weights is None


def test_a_redacted_one_keeps_its_format(path: Path) -> None:
    redact(path, path.with_name("other.diag"))
    with read_trace(path.with_name("other.diag")) as trace:
        assert trace.format == 1 and trace.header.withheld
        assert same_weights(trace, FITS[path.stem])


@pytest.mark.slow
def test_the_diagnosis_is_that_of_the_day(path: Path) -> None:
    from diagnose.analysis.analyze import analyse_file
    from diagnose.replay.keras.stored_model import build

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the fits were TensorFlow's; another backend's steps differ by rounding")
    fit = FITS[path.stem]
    with read_trace(path) as trace:
        model = build(trace.header.model.architecture)
    diagnosis = analyse_file(path, model)
    assert (None if diagnosis.restoration is None else diagnosis.restoration.verdict) == fit["verdict"]
    assert sorted({f.rule for f in diagnosis.findings if f.status == "failed"}) == fit["failed"]
    assert [row.logged for row in diagnosis.epoch_rows][-1] == {n: v[-1] for n, v in fit["history"].items()}
    if path.stem == "early-stopping":  # fit's rows are evaluate's
        found = {ledger.metric: ledger.evaluated for ledger in diagnosis.ledgers}
        assert found == pytest.approx(fit["evaluated"], rel=1e-5)
