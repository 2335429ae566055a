"""A redacted trace: whole, sealed, without contents of rows, all else as it was. The source is left alone."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.errors import ReplayError, TraceError, TraceWriteError
from diagnose.tracefile.model import BatchRef
from diagnose.tracefile.reader import read_trace, store_diagnosis
from diagnose.tracefile.redact import redact
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample


@pytest.fixture(params=["complete", "failed", None])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The sample, with paths in events, settings, a batch's reason and the stored diagnosis."""
    path = tmp_path / "a.diag"
    with TraceWriter(path) as writer:
        writer.info("environment", {"keras": "3.15.1", "platform": "Linux-of-alice"})
        callback = {"bases": [], "builtin": True, "hooks": [], "thresholds": []}
        writer.info("callbacks", [{"class": "ModelCheckpoint", "settings": {"filepath": "alice/w.keras"}, **callback}])
        writer.event("file-saved", {"callback": "ModelCheckpoint", "place": 0, "path": "alice/w.keras", "version": 1})
        sample.fill(writer)
        writer.commit()
        batches = writer.batches([BatchRef(None, np.array([-1]), missing="'/home/alice/x' is odd")])
        writer.evaluation(epoch=2, after_step=3, state=0, batches=batches, logs={"loss": 1.0})
        writer.event("tracer-error", {"error": "E: /home/alice/y", "traceback": 'File "/home/alice/z.py"'})
        if request.param:
            writer.seal(request.param)
    store_diagnosis(path, {"title": "alice/w.keras holds it", "trace": {"path": "alice/a.diag"}})
    return path


def test_everything_but_rows_and_paths_is_as_it_was(source: Path) -> None:
    target = source.with_name("b.diag")
    before = source.read_bytes()
    found = redact(source, target)
    assert source.read_bytes() == before and sorted(os.listdir(source.parent)) == ["a.diag", "b.diag"]
    assert (found.rows, found.arrays) == (5, 2)  # arrays: the mask and the sample weights
    with read_trace(source) as old, read_trace(target) as new:
        assert new.sealed and new.status == old.status
        same = ("states", "steps", "epochs", "signatures")
        assert [sample.plain(getattr(new, name)) for name in same] == [
            sample.plain(getattr(old, name)) for name in same
        ]
        assert [e.seq for e in new.events] == [e.seq for e in old.events]  # a diagnosis names events by number
        assert [new.row_digest(row) for row in range(7)] == [old.row_digest(row) for row in range(7)]
        for state in old.states:
            assert not state.kept or sample.plain(new.arrays(state)) == sample.plain(old.arrays(state))
            for digest in state.optimizer_arrays or ():
                assert sample.plain(new.array(digest)) == sample.plain(old.array(digest))
        assert sample.plain(new.array(old.steps[0].generator or b"")) == sample.plain(np.arange(16, dtype=np.uint8))
        for before_pass, after_pass in zip(old.evaluations, new.evaluations, strict=True):
            assert sample.plain(dataclasses.replace(after_pass, batches=None)) == sample.plain(
                dataclasses.replace(before_pass, batches=None)
            )
            assert before_pass.batches is not None and after_pass.batches is not None
            pairs = zip(old.batches(before_pass.batches), new.batches(after_pass.batches), strict=True)
            assert all(sample.plain(a.row_ids) == sample.plain(b.row_ids) for a, b in pairs)
        assert new.batches(new.evaluations[-1].batches or b"")[0].missing == "'folder-2' is odd"
        assert new.info["environment"] == {"keras": "3.15.1"} and new.info["redacted"] == {"rows": True, "paths": True}
        assert new.diagnosis() == {"title": "folder-1/w.keras holds it", "trace": {"path": "b.diag"}}
        with pytest.raises(ReplayError, match="only digests"):
            new.batch(new.steps[0].batch)


def test_nothing_of_rows_or_paths_is_in_the_file(source: Path) -> None:
    target = source.with_name("b.diag")
    redact(source, target)
    before, after = source.read_bytes(), target.read_bytes()
    for secret in (*(image.tobytes() for image in sample.IMAGES), b"alice", np.array([0.5, 2.0], np.float32).tobytes()):
        assert secret in before and secret not in after


def test_the_file_is_whole_by_sqlites_own_account_and_nobody_elses_to_read(source: Path) -> None:
    target = source.with_name("b.diag")
    redact(source, target)
    db = sqlite3.connect(target)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("SELECT count(*) FROM row_blocks WHERE kept OR blob NOT NULL").fetchone() == (0,)
    (used,) = db.execute("SELECT count(*) FROM blobs").fetchone()
    assert used == db.execute("SELECT count(*) FROM arrays WHERE blob NOT NULL").fetchone()[0]
    db.close()
    assert os.name != "posix" or stat.S_IMODE(target.stat().st_mode) == 0o600


def test_rows_and_weights_can_be_given_again(source: Path) -> None:
    target = source.with_name("b.diag")
    redact(source, target)
    with read_trace(source) as old, read_trace(target) as new:
        ref = dataclasses.replace(old.steps[0].batch, whole=(), sample_weight=old.steps[0].batch.sample_weight)
        assert new.supply([sample.IMAGES, sample.LABELS], 0) == 5
        assert ref.sample_weight is not None and new.lacks(ref.sample_weight)
        assert not new.supply_array(np.array([0.5, 3.0], np.float32), ref.sample_weight)
        assert new.supply_array(np.array([0.5, 2.0], np.float32), ref.sample_weight)
        assert new.array(ref.sample_weight).tolist() == [0.5, 2.0]


def test_what_is_there_is_replaced_by_force_only(source: Path) -> None:
    target = source.with_name("b.diag")
    target.write_text("mine")
    with pytest.raises(TraceWriteError, match=r"b\.diag is there already; --force replaces it"):
        redact(source, target)
    assert target.read_text() == "mine"
    redact(source, target, force=True)
    read_trace(target).close()
    for same in (source, source.parent / "." / source.name):
        with pytest.raises(TraceWriteError, match="is the trace itself"):
            redact(source, same, force=True)
    (source.parent / "link").symlink_to(target)
    with pytest.raises(TraceWriteError, match="is a link"):
        redact(source, source.parent / "link", force=True)
    assert sorted(os.listdir(source.parent)) == ["a.diag", "b.diag", "link"]


def test_a_broken_source_leaves_nothing_behind(tmp_path: Path) -> None:
    sample.write_sample(tmp_path / "a.diag")
    content = bytearray((tmp_path / "a.diag").read_bytes())
    weights = bytes(sample.WEIGHTS[0].tobytes())
    content[content.index(weights)] ^= 1
    (tmp_path / "a.diag").write_bytes(content)
    with pytest.raises(TraceError, match="does not match its digest"):
        redact(tmp_path / "a.diag", tmp_path / "b.diag")
    assert os.listdir(tmp_path) == ["a.diag"]


def test_redacting_twice_is_redacting_once(source: Path) -> None:
    first, second = source.with_name("b.diag"), source.with_name("c.diag")
    redact(source, first)
    assert dataclasses.astuple(redact(first, second)) == (0, 0)
    with read_trace(first) as one, read_trace(second) as two:
        assert sample.plain(one.events) == sample.plain(two.events)

        def info(trace: Any) -> dict[str, Any]:
            return dict(trace.info)

        assert info(one) == info(two)
