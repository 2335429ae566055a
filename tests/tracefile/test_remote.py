"""Traces that lie elsewhere, read through fsspec: from memory, and from a real S3 server on loopback where moto is.
The oracle is the same trace read in place."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diagnose import DiagnoseError, read_trace
from diagnose.cli import main
from diagnose.errors import TraceError
from diagnose.tracefile import remote
from tests.replay.plain_engine import record

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are made; nothing may be left there."""
    place = tmp_path / "private"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert not list(place.iterdir())


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Any]:
    """A trace of a small fit, in place and in memory."""
    record(tmp_path / "loop.diag", batch=2)
    system = fsspec.filesystem("memory")
    system.pipe("/runs/loop.diag", (tmp_path / "loop.diag").read_bytes())
    yield system
    system.rm("/runs", recursive=True)


def test_it_is_the_same_trace_and_its_copy_goes_with_it(there: Any, tmp_path: Path) -> None:
    with read_trace(tmp_path / "loop.diag") as here, read_trace("memory://runs/loop.diag") as found:
        assert found.digest == here.digest and found.path.exists()
        assert [a.tobytes() for a in found.arrays(found.states[0])] == [
            a.tobytes() for a in here.arrays(here.states[0])
        ]
    assert not found.path.exists()


def test_one_that_was_not_finished_comes_with_its_journal(there: Any, private: Path) -> None:
    there.pipe("/runs/loop.diag-journal", b"none of SQLite's")
    copy = private / "copy.diag"
    remote.copy("memory://runs/loop.diag", copy)
    assert (private / "copy.diag-journal").read_bytes() == b"none of SQLite's"
    for path in list(private.iterdir()):
        path.unlink()


def test_a_store_that_forbids_to_ask_for_the_journal_gives_the_trace(
    there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> bool:
        raise PermissionError("Forbidden")

    with monkeypatch.context() as patch:
        patch.setattr(type(there), "exists", forbidden)
        with read_trace("memory://runs/loop.diag") as trace:
            assert trace.sealed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no trace file memory://runs/broken.diag."),
        (b"x" * 500, "memory://runs/broken.diag is not a trace file."),
        ("half", "memory://runs/broken.diag is truncated"),
    ],
    ids=["missing", "another file", "cut off"],
)
def test_what_is_wrong_is_said_of_the_address(content: Any, message: str, there: Any) -> None:
    if content is not None:
        whole = there.cat("/runs/loop.diag")
        there.pipe("/runs/broken.diag", whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(TraceError, match=re.escape(message)):
        read_trace("memory://runs/broken.diag")


def test_the_size_and_the_time_are_bounded(there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_BYTES", 1000)
    with pytest.raises(TraceError, match=r"memory://runs/loop.diag is larger than the 0.0 GiB there is room for"):
        read_trace("memory://runs/loop.diag")
    monkeypatch.undo()

    ended = threading.Event()
    monkeypatch.setattr(type(there), "_open", lambda *a, **k: ended.wait(60))
    monkeypatch.setattr(remote, "STALL_SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(TraceError, match="cannot be read: nothing came for 0 seconds"):
        read_trace("memory://runs/loop.diag")
    assert time.monotonic() - began < 30
    ended.set()


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_what_is_not_installed_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, missing if missing == "s3fs" else "fsspec.core", None)
    with pytest.raises(DiagnoseError, match=r"s3://bucket/x.diag needs .*: pip install 'keras-diagnose\[remote\]'"):
        read_trace("s3://bucket/x.diag")


@pytest.mark.parametrize(
    ("url", "shown", "stem"),
    [
        ("https://me:secret@host/a/b.diag?signature=1", "https://host/a/b.diag", "b"),
        ("s3://bucket/fit-1.diag", "s3://bucket/fit-1.diag", "fit-1"),
        ("memory://x.diag", "memory://x.diag", "x"),
        ("s3://[bucket/a.diag", "s3://[bucket/a.diag", "a"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str, stem: str) -> None:
    assert remote.is_url(url) and (remote.shown(url), remote.stem(url)) == (shown, stem)


@pytest.mark.parametrize("path", ["runs/a.diag", "C:\\runs\\a.diag", "C://runs", "a:b", Path("s3://x/y")])
def test_a_path_is_no_address(path: Any) -> None:
    assert not remote.is_url(path)


def test_report_reads_it(there: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "memory://runs/loop.diag", "--out", str(tmp_path / "there")]) == 0
    assert main(["report", str(tmp_path / "loop.diag"), "--out", str(tmp_path / "here")]) == 0
    there_, here = ((tmp_path / name / "diagnosis.json").read_text() for name in ("there", "here"))
    assert there_ == here
    capsys.readouterr()
    assert main(["rules", "memory://runs/none.diag"]) == 1
    assert capsys.readouterr().err == "diagnose: There is no trace file memory://runs/none.diag.\n"


def test_an_s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    record(tmp_path / "loop.diag", batch=2)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem()
        store.mkdir("bucket")
        store.put(str(tmp_path / "loop.diag"), "bucket/runs/loop.diag")
        with read_trace("s3://bucket/runs/loop.diag") as found, read_trace(tmp_path / "loop.diag") as here:
            assert found.digest == here.digest
        with pytest.raises(TraceError, match=r"There is no trace file s3://bucket/runs/none.diag\."):
            read_trace("s3://bucket/runs/none.diag")
    finally:
        running.stop()
        s3fs.S3FileSystem.clear_instance_cache()
