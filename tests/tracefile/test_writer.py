from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from diagnose.errors import TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.digest import array_digest, row_digests
from diagnose.tracefile.model import BatchRef, Layout, Leaf, Signature
from diagnose.tracefile.reader import read_trace
from diagnose.tracefile.rows import pack_rows
from diagnose.tracefile.store import TraceStore
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample


def limit_pages(writer: TraceWriter, extra: int) -> None:
    """Makes the file as if the disk were full after `extra` more pages."""
    db = writer._store._db
    assert db is not None
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + extra}")


def test_settings_are_those_that_survive_a_kill(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    db = writer._store._db
    assert db is not None
    got = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "page_size")]
    assert got == ["persist", 0, 65536]
    writer.close()


def test_a_sealed_trace_is_one_file_that_sqlite_calls_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.diag"
    sample.write_sample(path)
    assert os.listdir(tmp_path) == ["a.diag"]
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert db.execute("SELECT status FROM seal").fetchall() == [("complete",)]
    assert db.execute("SELECT sum(count) FROM steps").fetchone() == (4,)
    db.close()


def test_contents_are_stored_once(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    array = np.arange(5000.0)
    digest = writer.array(array)
    before = writer.bytes_written
    assert writer.array(array.copy(), digest) == writer.array(array) == digest
    assert writer.has_array(digest) and not writer.has_array(b"0" * 16)
    assert writer.bytes_written == before >= array.nbytes
    signature = Signature({}, (Leaf("int8", (2,)),))
    assert [writer.signature(signature), writer.signature(Signature({"x": 1}, ())), writer.signature(signature)] == [
        0,
        1,
        0,
    ]
    batches = [BatchRef(None, np.zeros(0, np.int64), missing="no")]
    assert writer.batches(batches) == writer.batches(list(batches)) != writer.batches([])
    writer.close()


def test_contents_larger_than_a_part_are_split(tmp_path: Path) -> None:
    path = tmp_path / "a.diag"
    array = np.arange(1000, dtype=np.int32)
    rows, wide = np.arange(700, dtype=np.uint8).reshape(70, 10), np.arange(400, dtype=np.uint8).reshape(2, 200)
    with TraceWriter(path, part_bytes=96) as writer:
        digest = writer.array(array)
        narrow_signature = writer.signature(Signature({"x": {"leaf": 0}}, (Leaf("uint8", (10,)),)))
        wide_signature = writer.signature(Signature({"x": {"leaf": 0}}, (Leaf("uint8", (200,)),)))
        assert writer.rows(narrow_signature, row_digests(rows), rows) == 0
        assert writer.rows(wide_signature, row_digests(wide), wide) == 70
        writer.seal("complete")
    db = sqlite3.connect(path)
    assert db.execute("SELECT max(length(data)) FROM blobs").fetchone() == (96,)
    db.close()
    for cache in (10**6, 0):
        with read_trace(path, cache_bytes=cache) as trace:
            assert trace.array(digest).tolist() == array.tolist()
            ids = np.array([69, 0, 33, 33])
            assert trace.batch(BatchRef(narrow_signature, ids)).x.tolist() == rows[ids].tolist()
            assert trace.batch(BatchRef(wide_signature, np.array([71]))).x.tolist() == wide[1:].tolist()


def test_another_thread_than_the_constructors_can_write(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            sample.fill(writer)
            writer.seal("complete")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
    with read_trace(tmp_path / "a.diag") as trace:
        assert len(trace.steps) == 4


def test_full_disk_is_a_write_error_and_the_reason_can_still_be_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.diag"
    writer = TraceWriter(path)
    kept = writer.array(np.arange(10))
    writer.info("before", 1)
    writer.commit()
    limit_pages(writer, 2)
    writer.info("lost", 1)
    with pytest.raises(TraceWriteError, match="full") as caught:
        writer.array(np.zeros(10**6))
    with pytest.raises(TraceWriteError, match="full"):
        writer.info("after", 1)
    writer.event("tracer-error", {"error": str(caught.value)})
    writer.seal("failed")
    with read_trace(path) as trace:
        assert trace.status == "failed"
        assert dict(trace.info) == {"before": 1}
        assert trace.array(kept).tolist() == list(range(10))
        assert [event.kind for event in trace.events] == ["tracer-error"]


def test_without_seal_the_file_is_complete_up_to_close(tmp_path: Path) -> None:
    sample.write_sample(tmp_path / "a.diag", seal=None)
    assert os.listdir(tmp_path) == ["a.diag"]
    with read_trace(tmp_path / "a.diag") as trace:
        assert (trace.sealed, trace.status, len(trace.steps)) == (False, "interrupted", 4)


def test_nothing_can_be_written_after_the_seal_and_close_can_be_repeated(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    writer.seal("complete")
    writer.close()
    for write in (
        lambda: writer.info("a", 1),
        lambda: writer.event("a", {}),
        writer.commit,
        lambda: writer.seal("failed"),
    ):
        with pytest.raises(TraceWriteError, match="closed"):
            write()


def test_missing_folders_are_made_and_an_older_trace_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "deep" / "a b?#%.diag"
    sample.write_sample(path, seal=None)
    path.with_name(path.name + "-journal").write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7 left by a killed process")
    with TraceWriter(path) as writer:
        writer.info("second", 2)
    with read_trace(path) as trace:
        assert dict(trace.info) == {"second": 2}


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    notes, other, folder = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "folder"
    notes.write_text("mine")
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE mine (a)")
    db.close()
    folder.mkdir()
    for path in (notes, other, folder):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(TraceWriteError, match=r"not a trace|not a file"):
            TraceWriter(path)
        assert not path.is_file() or path.read_bytes() == before


def test_a_file_that_is_being_written_is_not_replaced(tmp_path: Path) -> None:
    first = TraceWriter(tmp_path / "a.diag")
    with pytest.raises(TraceWriteError, match="being written"):
        TraceWriter(tmp_path / "a.diag")
    first.info("still", "here")
    first.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace:
        assert trace.info["still"] == "here"


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_a_trace_and_its_journal_are_nobody_elses_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        writer = TraceWriter(tmp_path / "a.diag")
        sample.fill(writer)
        writer.commit()
        assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {
            "a.diag": 0o600,
            "a.diag-journal": 0o600,
        }
        writer.seal("complete")
        assert stat.S_IMODE((tmp_path / "a.diag").stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("leads_to", ["a trace", "nothing"])
def test_a_link_is_not_followed_and_nothing_beside_its_target_is_removed(leads_to: str, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "b.diag"
    target.parent.mkdir()
    if leads_to == "a trace":
        sample.write_sample(target)
    target.with_name("b.diag-journal").write_bytes(b"\xd9\xd5\x05\xf9 \xa1c\xd7 of somebody else")
    before = {p.name: p.read_bytes() for p in target.parent.iterdir()}
    (tmp_path / "a.diag").symlink_to(target)
    with pytest.raises(TraceWriteError, match=r"a\.diag is a link"):
        TraceWriter(tmp_path / "a.diag")
    assert {p.name: p.read_bytes() for p in target.parent.iterdir()} == before
    assert (tmp_path / "a.diag").is_symlink()


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    sample.write_sample(tmp_path / "runs" / "a.diag")
    assert os.listdir(tmp_path / "disk") == ["a.diag"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceWriteError, match="cannot be created"):
        TraceWriter(tmp_path / "file" / "a.diag")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if not os.access(locked, os.W_OK):
        with pytest.raises(TraceWriteError, match="cannot be created"):
            TraceWriter(locked / "a.diag")


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "a.diag")
    signature = writer.signature(sample.SIGNATURE)
    step = {
        "step": 0, "epoch": 1, "batch_index": 0, "metrics_before": None,
        "metrics_after": None, "generator": None, "seconds": 0.0,
    }  # fmt: skip
    for bad in (
        lambda: writer.step(**step, batch=BatchRef(signature, np.array([0]))),
        lambda: writer.step(**step, batch=BatchRef(9, np.array([-1]))),
        lambda: writer.step(**step, batch=BatchRef(None, np.array([-1]), sample_weight=b"short")),
        lambda: writer.step(**(step | {"step": 2**63}), batch=BatchRef(None, np.array([-1]))),
        lambda: writer.rows(signature, [b"0" * 16], np.zeros((1, 3), np.uint8)),
        lambda: writer.array(np.array(["text"])),
        lambda: writer.signature(Signature({}, (Leaf("object", ()),))),
        lambda: writer.epoch(
            epoch=1, first_version=0, last_version=1, logs={}, state=0, learning_rate=None, seconds=0.0
        ),
        lambda: writer.seal("done"),
    ):
        with pytest.raises((ValueError, TypeError)):
            bad()
    writer.info("fine", "afterwards")
    writer.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace:
        assert dict(trace.info) == {"fine": "afterwards"} and trace.steps == ()


def test_odd_values_in_typed_columns_are_kept(tmp_path: Path) -> None:
    rows = pack_rows([sample.IMAGES[:2], sample.LABELS[:2]])
    with TraceWriter(tmp_path / "a.diag") as writer:
        signature = writer.signature(sample.SIGNATURE)
        writer.rows(signature, row_digests(rows), rows)
        writer.step(
            step=np.int64(0), epoch=1, batch_index=0, metrics_before=b"", metrics_after=None,
            batch=BatchRef(np.int32(signature), np.array([1, 0], np.int32)), generator=None, seconds=float("nan"),
        )  # fmt: skip
        writer.event("lone \ud800 surrogate", {"key": "\ud800"})
        writer.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace:
        (step,) = trace.steps
        assert step.metrics_before == b"" and step.seconds != step.seconds and step.batch.row_ids.tolist() == [1, 0]
        assert trace.events[0].kind == "lone \\ud800 surrogate" and trace.events[0].detail == {"key": "\ud800"}


def test_a_file_whose_making_failed_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: TraceStore) -> None:
        raise MemoryError

    path = tmp_path / "a.diag"
    monkeypatch.setattr(TraceStore, "_commit_chain", no_memory)
    with pytest.raises(MemoryError):
        TraceWriter(path)
    monkeypatch.undo()
    with TraceWriter(path) as writer:
        writer.seal("complete")
    with read_trace(path) as trace:
        assert trace.status == "complete"


def test_of_very_many_contents_the_ones_used_last_are_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fmt, "MOST_KNOWN_ARRAYS", 4)
    path = tmp_path / "fit.diag"
    arrays = [np.full(3, i, np.float32) for i in range(10)]
    with TraceWriter(path) as writer:
        first = writer.array(arrays[0])
        for array in arrays[1:]:
            digest = writer.array(array)
            assert writer.has_array(digest) and writer.has_array(first), "this one is used all the time"
        before = writer.bytes_written
        writer.array(arrays[9])
        assert writer.bytes_written == before
        forgotten = writer.array(arrays[1])
        assert writer.bytes_written > before
        writer.info("fit", {})
    with read_trace(path) as trace:
        assert np.array_equal(trace.array(forgotten), arrays[1])
        assert all(np.array_equal(trace.array(array_digest(a)), a) for a in arrays)


def write_steps(path: Path, ids: np.ndarray, rows: int) -> None:
    """Steps without anything that was seen of them, 10,000 an epoch."""
    packed = np.arange(5, dtype=np.uint8)[:, None]
    with TraceWriter(path) as writer:
        signature = writer.signature(Signature({"x": {"leaf": 0}}, (Leaf("uint8", ()),)))
        writer.rows(signature, row_digests(packed), packed)
        for first in range(0, len(ids) // rows, 10_000):
            part = ids[first * rows : (first + 10_000) * rows]
            writer.steps(
                step=first, epoch=first // 10_000 + 1, batch_index=0, count=len(part) // rows, signature=signature,
                row_ids=part, rows=rows, sample_weights=[], layout=Layout(), metrics_before=None, metrics_after=None,
                generator=None, seconds=0.5,
            )  # fmt: skip
        writer.seal("complete")


def test_very_many_steps_of_one_row_each_are_no_more_than_a_file_can_have(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 5, 200_000)
    write_steps(tmp_path / "fit.diag", ids, rows=1)
    with read_trace(tmp_path / "fit.diag") as trace:
        assert np.array_equal(np.concatenate([step.batch.row_ids for step in trace.steps]), ids)
        assert [step.step for step in trace.steps] == [*range(len(ids))]


def test_blocks_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmt, "WAITING_BYTES", 1000)
    ids = np.random.default_rng(0).integers(0, 5, 20 * 50)
    write_steps(tmp_path / "together.diag", ids, rows=50)
    with TraceWriter(tmp_path / "single.diag") as writer:
        signature = writer.signature(Signature({"x": {"leaf": 0}}, (Leaf("uint8", ()),)))
        writer.rows(signature, row_digests(np.arange(5, dtype=np.uint8)[:, None]), None)
        for step in range(20):
            batch = BatchRef(signature, ids[50 * step : 50 * step + 50])
            writer.step(
                step=step, epoch=1, batch_index=step, batch=batch, metrics_before=None, metrics_after=None,
                generator=None, seconds=0.5,
            )  # fmt: skip
    for name in ("together", "single"):
        with read_trace(tmp_path / f"{name}.diag") as trace:
            assert np.array_equal(np.concatenate([step.batch.row_ids for step in trace.steps]), ids)
            assert max(len(row[6]) for row in trace.raw(fmt.STEPS)) <= 1000 + 4 * 50
