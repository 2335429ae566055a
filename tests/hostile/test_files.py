"""Files that are no trace, or not a whole one."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from diagnose.errors import TraceError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.reader import read_trace, store_diagnosis
from tests.hostile.forge import change
from tests.tracefile import sample


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("trace") / "a.diag"
    sample.write_sample(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, sealed: bytes) -> Path:
    (tmp_path / "a.diag").write_bytes(sealed)
    return tmp_path / "a.diag"


def refused(path: Path, match: str) -> None:
    """The file is refused with one sentence that names it."""
    with pytest.raises(TraceError, match=match) as caught:
        read_trace(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def patch(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.diag", "There is no trace file")


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "not a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.diag")
    refused(tmp_path / "a.diag", "not a file")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.diag").touch()
    refused(tmp_path / "a.diag", "is empty")


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.diag").write_text("epoch,loss\n" * 100)
    refused(tmp_path / "a.diag", "not a trace file")


def test_file_cut_within_its_header(path: Path) -> None:
    for length in (3, 16, 60):
        path.write_bytes(path.read_bytes()[:length])
        refused(path, "truncated")
        path.write_bytes(b"SQLite format 3\0" + bytes(84))


def test_a_file_with_small_pages_is_read_and_its_end_is_missed(tmp_path: Path, sealed: bytes) -> None:
    path = tmp_path / "a.diag"
    sample.write_sample(path, page_bytes=fmt.SMALL_PAGE_BYTES)
    size = path.stat().st_size
    assert size < len(sealed) / 4
    with read_trace(path) as trace:
        assert trace.status == "complete" and len(trace.steps) == 4
    os.truncate(path, size - 4096)
    refused(path, f"truncated: {size - 4096} of {size} bytes")


@pytest.mark.parametrize("spelled", [0, 2, 512, 8192, 32768])
def test_other_page_sizes_are_refused(path: Path, spelled: int) -> None:
    patch(path, 16, spelled.to_bytes(2, "big"))
    refused(path, "altered or damaged")


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.999])
def test_truncated_file_says_how_much_is_left(path: Path, part: float) -> None:
    size = path.stat().st_size
    os.truncate(path, int(size * part))
    refused(path, f"truncated: {int(size * part)} of {size} bytes")


def test_noise_after_a_good_header(path: Path) -> None:
    patch(path, 100, os.urandom(path.stat().st_size - 100))
    refused(path, "altered or damaged")


def test_database_of_another_application(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.diag")
    db.execute("CREATE TABLE info (seq INTEGER PRIMARY KEY, key TEXT, value TEXT)")
    db.close()
    refused(tmp_path / "a.diag", "another application")


def test_newer_version_asks_for_an_upgrade(path: Path) -> None:
    change(path, "PRAGMA user_version = 4")
    refused(path, "format 4.* upgrade")


def test_version_zero(path: Path) -> None:
    change(path, "PRAGMA user_version = 0")
    refused(path, "header")


def test_wal_mode(path: Path) -> None:
    change(path, "PRAGMA journal_mode = WAL")
    refused(path, "header")
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.diag"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW seals AS SELECT * FROM seal",
        "CREATE TRIGGER t AFTER UPDATE ON diagnosis BEGIN DELETE FROM steps; END",
        "CREATE TABLE extra (a)",
        "CREATE INDEX i ON steps (step)",
        "DROP TABLE epochs",
        "ALTER TABLE epochs ADD COLUMN more",
        "ALTER TABLE seal RENAME COLUMN status TO state",
    ],
)
def test_tables_other_than_a_traces(path: Path, statement: str) -> None:
    change(path, statement)
    refused(path, "tables are not those of a trace")


def test_virtual_table(path: Path) -> None:
    # Written into the schema by hand: whether SQLite has the module is another matter, also for the reader.
    row = ("table", "v", "v", 0, "CREATE VIRTUAL TABLE v USING fts5(a)")
    change(path, "PRAGMA writable_schema = ON", "INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", values=row)
    refused(path, "tables are not those of a trace|malformed")


def test_table_replaced_by_a_view_of_the_same_name(path: Path) -> None:
    change(path, "ALTER TABLE epochs RENAME TO hidden", "CREATE VIEW epochs AS SELECT * FROM hidden")
    refused(path, "tables are not those of a trace")


def test_generated_column_in_place_of_a_plain_one(path: Path) -> None:
    text = "CREATE TABLE seal (seq INTEGER PRIMARY KEY, status TEXT AS (hex(zeroblob(9))))"
    change(path, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = ? WHERE name = 'seal'", values=(text,))
    refused(path, "tables are not those of a trace|malformed")


def test_page_tree_that_leads_in_circles(path: Path) -> None:
    # The root page of a table becomes an inner page whose only child is itself.
    db = sqlite3.connect(path)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'steps'").fetchone()
    db.close()
    patch(path, (root - 1) * 65536, b"\x05\0\0\0\0\0\0\0" + root.to_bytes(4, "big"))
    refused(path, "altered or damaged")


def test_one_page_used_by_two_tables(path: Path) -> None:
    change(
        path, "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'info') "
        "WHERE name = 'events'",
    )  # fmt: skip
    refused(path, "altered or damaged")


def test_journal_of_noise_changes_nothing_or_is_refused(path: Path) -> None:
    with read_trace(path) as trace:
        expected = sample.everything(trace)
    path.with_name("a.diag-journal").write_bytes(os.urandom(70_000))
    before = path.read_bytes()
    with read_trace(path) as trace:
        assert sample.everything(trace) == expected
    assert path.read_bytes() == before


def test_journal_that_names_another_file_does_not_have_it_deleted(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    name = str(victim).encode()
    # The end of a rollback journal may name a super-journal, which SQLite 3.40 deletes after it rolled this one back.
    magic = bytes.fromhex("d9d505f920a163d7")
    pages = path.stat().st_size // 65536
    header = (
        magic + bytes(4) + bytes(4) + pages.to_bytes(4, "big") + (512).to_bytes(4, "big") + (65536).to_bytes(4, "big")
    )
    checksum = sum(name) & 0xFFFFFFFF
    locking_page = (2**30 // 65536 + 1).to_bytes(4, "big")
    tail = locking_page + name + len(name).to_bytes(4, "big") + checksum.to_bytes(4, "big") + magic
    journal = header.ljust(512, b"\0") + tail
    path.with_name("a.diag-journal").write_bytes(journal)
    with pytest.raises(TraceError, match="names other files"):
        read_trace(path)
    with pytest.raises(TraceError, match="names other files"):
        store_diagnosis(path, {})
    assert victim.read_text() == "precious"


def test_link_to_a_trace_is_read_with_the_journal_of_the_real_file(path: Path) -> None:
    link = path.with_name("link.diag")
    link.symlink_to(path)
    with read_trace(link) as trace:
        assert trace.sealed
