from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diagnose.errors import ReplayError, TraceError, TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile import reader
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import BatchRef, Leaf, Signature
from diagnose.tracefile.reader import Trace, read_trace, store_diagnosis
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sample.write_sample(tmp_path / "a.diag")
    return tmp_path / "a.diag"


def test_every_record_comes_back(path: Path) -> None:
    with read_trace(path) as trace:
        assert (trace.path, trace.sealed, trace.status, trace.nbytes) == (path, True, "complete", path.stat().st_size)
        assert trace.info["keras"] == "3.15.1"
        assert sample.plain(trace.info["fit"]["odd"]) == sample.plain([float("nan"), float("inf"), None, True])
        assert trace.signatures == (sample.SIGNATURE,)
        assert [(s.state, s.version, s.label, s.kept) for s in trace.states] == [
            (0, 1, "update", True), (1, 2, "update", True), (2, 3, "update", True), (3, None, "final", False),
        ]  # fmt: skip
        assert trace.states[0].optimizer_arrays is not None and trace.states[3].optimizer_arrays is None
        assert [(s.step, s.epoch, s.batch_index, s.computed_at, s.produced) for s in trace.steps[:3]] == [
            (0, 1, 0, 0, 1), (1, 1, 1, 1, 2), (2, 2, 0, 2, 3),
        ]  # fmt: skip
        assert (trace.steps[0].metrics_before, trace.steps[1].metrics_before) == (None, b"before")
        (epoch,) = trace.epochs
        assert (epoch.epoch, epoch.first_version, epoch.last_version, epoch.state) == (1, 0, 2, 1)
        assert dict(epoch.logs) == {"loss": 0.1, "acc": 1} and (epoch.learning_rate, epoch.seconds) == (0.001, 1.5)
        (evaluation,) = trace.evaluations
        assert (evaluation.evaluation, evaluation.state, str(evaluation.logs["loss"])) == (0, 1, "nan")
        assert [event.kind for event in trace.events] == ["weights-changed", "train-end"]
        assert trace.events[0].seq < trace.events[1].seq and trace.events[0].epoch == 2


def test_weights_and_versions(path: Path) -> None:
    with read_trace(path) as trace:
        state = trace.version(3)
        assert state is trace.states[2] and trace.version(0) is None
        for stored, array in zip(trace.arrays(state), sample.WEIGHTS, strict=True):
            expected = array + 2 if array.size else array
            assert (stored.dtype, stored.shape, stored.tolist()) == (expected.dtype, expected.shape, expected.tolist())
            assert not stored.flags.writeable


def test_batches_are_built_from_rows(path: Path) -> None:
    with read_trace(path) as trace:
        batch = trace.batch(trace.steps[1].batch)
        assert batch.size == 2 and batch.rows.tolist() == [4, 1]
        assert batch.x["image"].tolist() == sample.IMAGES[[4, 1]].tolist()
        assert batch.x["mask"].tolist() == sample.MASK.tolist()
        labels, nothing = batch.y
        assert labels.tolist() == [5, 1] and labels.dtype == np.int64 and nothing is None
        assert batch.sample_weight is not None and batch.sample_weight.tolist() == [0.5, 2.0]
        row = sample.IMAGES[4].tobytes() + sample.LABELS[4].tobytes()
        assert trace.row_digest(4) == xxhash.xxh3_128(row).digest()


def test_what_was_not_kept_says_so(path: Path) -> None:
    with read_trace(path) as trace:
        final = trace.states[3]
        listed = trace.evaluations[0].batches
        assert listed is not None
        for read, reason in (
            (lambda: trace.arrays(final), "'final' are not kept"),
            (lambda: trace.array(final.arrays[0]), "is not kept"),
            (lambda: trace.batch(trace.steps[3].batch), "only digests"),
            (lambda: trace.batch(trace.batches(listed)[1]), "a generator"),
            (lambda: trace.batch(BatchRef(0, np.array([-1]))), "not recorded"),
            (lambda: trace.batches(b"0" * 16), "not in"),
            (lambda: trace.row_digest(99), "no row 99"),
        ):
            with pytest.raises(ReplayError, match=reason):
                read()


def test_the_cache_is_bounded_and_the_results_do_not_depend_on_it(path: Path) -> None:
    with read_trace(path) as large, read_trace(path, cache_bytes=100) as small, read_trace(path, cache_bytes=0) as none:
        assert sample.everything(large) == sample.everything(small) == sample.everything(none)
        assert none._contents._cached == 0 < small._contents._cached <= 100
        assert large.array(large.states[0].arrays[0]) is large.array(large.states[0].arrays[0])


def test_reading_changes_nothing_and_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = path.parent / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    sample.write_sample(path.with_name("open.diag"), seal=None)
    before = {p.name: p.read_bytes() for p in path.parent.glob("*diag*")}
    for name in before:
        trace = read_trace(path.with_name(name))
        sample.everything(trace)
        trace.close()
        trace.close()
        with pytest.raises(TraceError, match="closed"):
            trace.diagnosis()
    assert {p.name: p.read_bytes() for p in path.parent.glob("*diag*")} == before
    assert list(folder.iterdir()) == []


def test_a_sealed_trace_can_be_read_where_nothing_can_be_written(path: Path) -> None:
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with read_trace(path) as trace:
            assert trace.sealed
    finally:
        path.parent.chmod(0o700)


def test_a_diagnosis_is_stored_replaced_and_outside_the_chain(path: Path) -> None:
    with read_trace(path) as trace:
        before = sample.everything(trace)
        assert trace.diagnosis() is None
        for diagnosis in ({"verdict": "shifted", "amounts": [float("-inf"), np.float64(2)]}, {"verdict": "aligned"}):
            store_diagnosis(path, diagnosis)
            assert trace.diagnosis() == diagnosis
    with read_trace(path) as trace:
        assert trace.diagnosis() == {"verdict": "aligned"}
        assert [kept for kept in sample.everything(trace) if kept[0] != "diagnosis"] == [
            kept for kept in before if kept[0] != "diagnosis"
        ]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_diagnosis_is_stored_in_an_interrupted_trace_but_not_in_one_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "STORE_BUSY_SECONDS", 0)
    path = tmp_path / "a.diag"
    writer = TraceWriter(path)
    sample.fill(writer)
    writer.commit()
    with pytest.raises(TraceWriteError, match="being written"):
        store_diagnosis(path, {"a": 1})
    writer.close()
    store_diagnosis(path, {"a": 2})
    with read_trace(path) as trace:
        assert trace.diagnosis() == {"a": 2} and not trace.sealed


def test_a_diagnosis_is_stored_only_in_traces(tmp_path: Path) -> None:
    (tmp_path / "a.diag").write_text("notes")
    with pytest.raises(TraceError, match="not a trace"):
        store_diagnosis(tmp_path / "a.diag", {})
    assert (tmp_path / "a.diag").read_text() == "notes"


def test_rows_left_half_way_are_dropped_without_a_word(path: Path) -> None:
    """As where an error ends their use: the trace is closed then before the traceback that holds them is gone."""
    with read_trace(path) as trace:
        rows = trace.raw(fmt.STEPS)
        next(rows)
    rows.close()  # type: ignore[attr-defined]
    with pytest.raises(TraceError, match=r"a\.diag is closed"):
        next(trace.raw(fmt.STEPS))


def test_reading_needs_no_heavy_library() -> None:
    code = (
        "import sys, diagnose.tracefile.reader, diagnose.tracefile.writer\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'pandas', 'matplotlib', 'ml_dtypes'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_documented_tables_are_those_of_the_file(path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "trace-format.md").read_text()
    documented = [line.strip() for line in text.splitlines() if line.strip().startswith("CREATE ")]
    db = sqlite3.connect(path)
    assert documented == [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")]
    db.close()


ARRAYS = hnp.arrays(st.sampled_from(["bool", "int64", "float32"]), hnp.array_shapes(min_dims=0, max_side=3, max_dims=2))
NUMBERS = st.integers(0, fmt.MOST_STEPS - 1)
JSON = st.dictionaries(st.text(max_size=5), st.none() | st.floats() | st.integers() | st.text(max_size=5), max_size=3)
RECORDS = st.one_of(
    st.tuples(st.just("array"), ARRAYS),
    st.tuples(
        st.just("event"), st.text(st.characters(exclude_categories=["Cs"]), max_size=9), JSON, st.none() | NUMBERS
    ),
    st.tuples(st.just("info"), st.sampled_from("abc"), JSON),
    st.tuples(st.just("rows"), hnp.arrays("float32", st.tuples(st.integers(0, 4), st.just(3))), st.booleans()),
    st.tuples(st.just("state"), st.none() | NUMBERS, st.lists(st.binary(min_size=16, max_size=16), max_size=3)),
    st.tuples(st.just("step"), NUMBERS, st.lists(st.integers(0, 10**6), max_size=4), st.none() | st.binary(max_size=9)),
    st.tuples(st.just("commit")),
)
SIGNATURE = Signature({"x": {"leaf": 0}}, (Leaf("float32", (3,)),))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORDS, max_size=12), st.sampled_from([None, "complete", "failed", "interrupted"]))
def test_any_records_come_back_in_order(tmp_path: Path, records: list[Any], status: str | None) -> None:
    path = tmp_path / "random.diag"
    expected: dict[str, list[Any]] = {"array": [], "event": [], "rows": [], "state": [], "step": []}
    info: dict[str, Any] = {}
    with TraceWriter(path) as writer:
        writer.signature(SIGNATURE)
        total = 0
        for kind, *values in records:
            if kind == "array":
                expected[kind].append((writer.array(values[0]), sample.plain(values[0])))
            elif kind == "event":
                writer.event(values[0], values[1], step=values[2])
                expected[kind].append((values[0], {k: repr(v) for k, v in values[1].items()}, values[2]))
            elif kind == "info":
                writer.info(*values)
                info[values[0]] = {k: repr(v) for k, v in values[1].items()}
            elif kind == "rows":
                packed = pack_rows([values[0]])
                assert writer.rows(0, row_digests(packed), packed if values[1] else None) == total
                total += len(packed)
                expected[kind] += [(row.tobytes(), values[1]) for row in values[0]]
            elif kind == "state":
                one = bytes(16)
                writer.state(
                    version=values[0], label="x", trainable=one, non_trainable=one, seeds=one, optimizer=None,
                    arrays=values[1], optimizer_arrays=values[1][:1], kept=not values[1],
                )  # fmt: skip
                expected[kind].append((values[0], tuple(values[1])))
            elif kind == "step":
                ids = np.array([i % total for i in values[1]] if total else [-1], np.int64)
                writer.step(
                    step=values[0], epoch=1, batch_index=0, batch=BatchRef(0, ids),
                    metrics_before=values[2], metrics_after=None, generator=None, seconds=0.5,
                )  # fmt: skip
                expected[kind].append((values[0], ids.tolist(), values[2]))
            else:
                writer.commit()
        if status is not None:
            writer.seal(status)
    with read_trace(path) as trace:
        assert (trace.status, trace.sealed) == (status or "interrupted", status is not None)
        assert {k: {n: repr(v) for n, v in value.items()} for k, value in trace.info.items()} == info
        assert [(e.kind, {k: repr(v) for k, v in e.detail.items()}, e.step) for e in trace.events] == expected["event"]
        assert [(s.version, s.arrays) for s in trace.states] == expected["state"]
        assert [(s.step, s.batch.row_ids.tolist(), s.metrics_before) for s in trace.steps] == expected["step"]
        for digest, array in expected["array"]:
            assert sample.plain(trace.array(digest)) == array
        check_rows(trace, expected["rows"])


def check_rows(trace: Trace, rows: list[tuple[bytes, bool]]) -> None:
    for row, (content, kept) in enumerate(rows):
        assert trace.row_digest(row) == xxhash.xxh3_128(content).digest()
        if kept:
            assert trace.batch(BatchRef(0, np.array([row]))).x.tobytes() == content


def test_a_logged_value_is_a_number_or_none_of_a_number(tmp_path: Path) -> None:
    logs = {"int": 3, "true": True, "nan": float("nan"), "huge": 10**150, "text": "3", "none": None, "list": [1.0]}
    with TraceWriter(tmp_path / "a.diag") as writer:
        state = writer.state(
            version=0, label="version", trainable=sample.NONE, non_trainable=sample.NONE, seeds=sample.NONE,
            optimizer=None, arrays=[], optimizer_arrays=None, kept=False,
        )  # fmt: skip
        writer.epoch(epoch=1, first_version=0, last_version=0, logs=logs, state=state, learning_rate=None, seconds=0.0)
        writer.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace:
        found = trace.epochs[0].logs
    expected = {"int": 3.0, "true": 1.0, "nan": float("nan"), "huge": 1e150, "text": "3", "none": None, "list": [1.0]}
    assert sample.plain(found) == sample.plain(expected)
