"""Traces whose records or contents were changed; with a running digest that fits, where the chain alone would tell."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from diagnose.errors import ReplayError, TraceError
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import BatchRef, Leaf, Signature
from diagnose.tracefile.reader import read_trace, store_diagnosis
from diagnose.tracefile.writer import TraceWriter
from tests.hostile.forge import CHAINED, add, change, encoded, records, rewrite
from tests.tracefile import sample


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("trace") / "a.diag"
    sample.write_sample(path)
    store_diagnosis(path, {"verdict": "shifted"})
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, sealed: bytes) -> Path:
    (tmp_path / "a.diag").write_bytes(sealed)
    return tmp_path / "a.diag"


def refused(path: Path, match: str = "altered or damaged") -> None:
    with pytest.raises(TraceError, match=match) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("column", ["digest", "dtype", "shape", "nbytes", "blob"])
def test_any_change_in_the_index_of_arrays_is_damage(path: Path, column: str) -> None:
    # An array whose digest is another is not one that was not kept: of states, of the optimizer, of a batch, all.
    values = {
        "digest": "zeroblob(16)",
        "dtype": "'int8'",
        "shape": "'[1]'",
        "nbytes": "nbytes + 1",
        "blob": "ifnull(blob, 0) + 1",
    }
    before = path.read_bytes()
    with read_trace(path) as trace:
        assert "array_index" not in trace.info
    db = sqlite3.connect(path)
    (count,) = db.execute("SELECT count(*) FROM arrays").fetchone()
    db.close()
    for number in range(1, count + 1):
        path.write_bytes(before)
        change(path, f"UPDATE arrays SET {column} = {values[column]} WHERE array = {number}")
        refused(path)


def test_an_index_without_a_digest_is_that_of_an_older_release(path: Path) -> None:
    kept = [record for record in records(path) if record[1][0] != "array_index"]
    rewrite(path, kept)
    with read_trace(path) as trace:
        assert trace.arrays(trace.states[0])[0].shape == (3, 4)
    change(path, "UPDATE arrays SET digest = zeroblob(16) WHERE digest = (SELECT substr(arrays, 1, 16) FROM states)")
    refused(path, "kept state is missing")


SHAPES: list[tuple[str, str, Any, str]] = [
    ("info", "fit", [1], "fit: expected `object`, got `array`"),
    ("info", "fit", {"arguments": [1]}, "fit.arguments: expected `object`"),
    ("info", "callbacks", {}, "callbacks: expected `array`"),
    ("info", "callbacks", [{"class": "A"}], r"callbacks\[0\]: object missing required field `bases`"),
    ("info", "model", {"name": "m", "parameters": 1, "layers": [{}]}, "model.layers"),
    ("info", "variables", [{"path": "a", "dtype": "float32", "shape": [-1], "group": "seed"}], "variables"),
    ("info", "variables", [], "does not have the 0 arrays"),
    ("info", "metric_variables", [{"metric": "loss"}], "metric_variables"),
    ("info", "environment", {"keras": 3}, r"environment\[...\]: expected `str`"),
    ("events", "train-end", {"state": 99}, "state 99"),
    ("events", "train-end", {}, "object missing required field `state`"),
    ("events", "weights-changed", {"callback": None, "before": -1, "after": 0}, "before: expected `int` >= 0"),
    ("events", "callbacks-final", {"callbacks": 7}, "callbacks: expected `array`"),
    ("events", "file-saved", {"callback": "C", "hook": "h", "place": 0, "version": "1", "path": "p"}, "version"),
    ("events", "replica-shares", {"rows": "many"}, "rows: expected `array`"),
]


@pytest.mark.parametrize(("table", "key", "value", "match"), SHAPES)
def test_shape_that_nothing_else_expects(table: str, key: str, value: Any, match: str, path: Path) -> None:
    row = [key, json.dumps(value)] if table == "info" else [key, None, None, json.dumps(value)]
    add(path, table, [row])
    refused(path, match)


def test_events_and_headers_of_other_kinds_are_let_be(path: Path) -> None:
    add(path, "events", [["new kind", None, None, '{"state":99}']])
    add(path, "info", [["new_row", "[[[]]]"]])
    with read_trace(path) as trace:
        assert trace.info["new_row"] == [[[]]]


def test_the_independent_chain_agrees_with_ours(path: Path) -> None:
    before = path.read_bytes()
    change(path, "UPDATE info SET value = '2' WHERE key = 'keras'", rechain=True)
    with read_trace(path) as trace:
        assert trace.info["keras"] == 2
    change(path, "UPDATE info SET value = '\"3.15.1\"' WHERE key = 'keras'", rechain=True)
    with read_trace(path) as trace:
        altered = sample.everything(trace)
    path.write_bytes(before)
    with read_trace(path) as trace:
        assert sample.everything(trace) == altered


@pytest.mark.parametrize("table", CHAINED)
def test_one_changed_value(path: Path, table: str) -> None:
    column = {
        "info": "value", "signatures": "structure", "row_blocks": "digests", "states": "label", "steps": "seconds",
        "seal": "status",
        "batch_lists": "batches", "evaluations": "logs", "epochs": "logs", "events": "detail", "chain": "digest",
    }[table]  # fmt: skip
    first = f"(SELECT min(seq) FROM {table})"
    change(path, f"UPDATE {table} SET {column} = substr({column}, 2) WHERE seq = {first}")
    refused(path)


@pytest.mark.parametrize("table", CHAINED)
def test_one_missing_row(path: Path, table: str) -> None:
    change(path, f"DELETE FROM {table} WHERE seq = (SELECT max(seq) FROM {table})")
    refused(path)


def test_two_rows_in_another_order(path: Path) -> None:
    with read_trace(path) as trace:
        first, second = (event.seq for event in trace.events)
    swaps = ((first, -1), (second, first), (-1, second))
    change(path, *(f"UPDATE events SET seq = {new} WHERE seq = {old}" for old, new in swaps))
    refused(path)


def test_a_removed_seal_leaves_an_incomplete_trace(path: Path) -> None:
    change(
        path,
        "DELETE FROM seal",
        "UPDATE chain SET seq = seq - 1 WHERE seq = (SELECT max(seq) FROM chain)",
        rechain=True,
    )
    with read_trace(path) as trace:
        assert not trace.sealed and trace.status == "interrupted"


def test_cut_at_a_commit_a_sealed_trace_cannot_pass_for_a_shorter_one(path: Path) -> None:
    cut = "(SELECT seq FROM chain ORDER BY seq LIMIT 1 OFFSET 1)"
    change(path, *(f"DELETE FROM {table} WHERE seq > {cut} AND '{table}' <> 'seal'" for table in CHAINED))
    refused(path)


FORGED: list[tuple[str, str]] = [
    ("UPDATE seal SET status = 'great'", "seal"),
    ("UPDATE states SET kept = x'02'", "state"),
    ("UPDATE states SET kept = x'0101'", "state"),
    ("UPDATE states SET count = 2", "state"),
    ("UPDATE states SET count = 0", "state"),
    ("UPDATE states SET version = 9223372036854775807", "state"),
    ("UPDATE states SET version = -1", "state"),
    ("UPDATE states SET arrays = x'00112233'", "digests"),
    ("UPDATE states SET groups = x'00'", "digest"),
    ("UPDATE states SET groups = NULL", "digest"),
    ("UPDATE states SET groups = zeroblob(96)", "state"),
    ("UPDATE states SET label = x'00'", "label"),
    ("UPDATE steps SET batch_index = -5", "negative"),
    ("UPDATE steps SET count = 0", "block of steps"),
    ("UPDATE steps SET count = 65", "block of steps"),
    ("UPDATE steps SET count = count + 1", "block of steps"),
    ("UPDATE steps SET rows = -1", "block of steps"),
    ("UPDATE steps SET rows = 9223372036854775807, row_ids = zeroblob(8)", "block of steps"),
    ("UPDATE steps SET step = 9223372036854775807", "block of steps"),
    ("UPDATE steps SET sample_weights = zeroblob(3200)", "block of steps"),
    ("UPDATE steps SET marks = zeroblob(1 + length(marks))", "block of steps"),
    ("UPDATE steps SET marks = substr(x'ffffffffffffffffffffff', 1, length(marks))", "metrics"),
    ("UPDATE steps SET marks = substr(x'0101010101010101', 1, length(marks))", "metrics"),
    ("UPDATE steps SET metrics = zeroblob(1 + length(metrics))", "metrics"),
    ("UPDATE steps SET generators = zeroblob(3200)", "generators"),
    ("UPDATE steps SET step = 'one'", "step"),
    ("UPDATE steps SET step = 0.5", "step"),
    ("UPDATE steps SET seconds = 'soon'", "seconds"),
    ("UPDATE steps SET seconds = 3", "seconds"),
    ("UPDATE steps SET seconds = x'00'", "block of steps"),
    ("UPDATE steps SET row_ids = x'0001'", "well formed"),
    ("UPDATE steps SET count = 1, rows = 1, row_ids = x'ffffff7f', marks = x'00', seconds = zeroblob(8), "
     "sample_weights = x'', whole = x'', metrics = x'', generators = x''", "rows that do not exist"),
    ("UPDATE steps SET count = 1, rows = 1, row_ids = x'feffffff', marks = x'00', seconds = zeroblob(8), "
     "sample_weights = x'', whole = x'', metrics = x'', generators = x''", "rows that do not exist"),
    ("UPDATE steps SET signature = 1", "well formed"),
    ("UPDATE steps SET signature = -1", "well formed"),
    ("UPDATE epochs SET state = 4", "state 4"),
    ("UPDATE evaluations SET state = -1", "state -1"),
    ("UPDATE epochs SET epoch = 0", "epoch 0"),
    ("UPDATE epochs SET last_version = -1", "epoch"),
    ("UPDATE epochs SET logs = '[1]'", "object"),
    ("UPDATE epochs SET logs = '{'", "damaged"),
    ("UPDATE epochs SET logs = '{\"loss\":NaN}'", "NaN"),
    ("UPDATE epochs SET learning_rate = '\"fast\"'", "learning rate"),
    ("UPDATE info SET value = replace(hex(zeroblob(60000)), '00', '[')", "nested"),
    ("UPDATE info SET value = replace(hex(zeroblob(6000)), '00', '9')", "damaged"),
    ("UPDATE info SET key = x'00'", "key"),
    ("UPDATE row_blocks SET first_row = first_row + 1", "blocks before it"),
    ("UPDATE row_blocks SET count = 9223372036854775807", "blocks before it"),
    ("UPDATE row_blocks SET count = 0, digests = x''", "blocks before it"),
    ("UPDATE row_blocks SET signature = 7", "blocks before it"),
    ("UPDATE signatures SET leaves = '[[\"object\",[1],false]]'", "dtype"),
    ("UPDATE signatures SET leaves = '[[\"float32\",[-1],false]]'", "shape"),
    ("UPDATE signatures SET leaves = '[[\"float32\",[4611686018427387904,4],false]]'", "larger than any"),
    ("UPDATE signatures SET leaves = '[[\"float32\",[100000,100000],false]]'", "larger than the file"),
    ("UPDATE signatures SET leaves = '[[\"float32\",[1.5],false]]'", "shape"),
    ("UPDATE signatures SET leaves = '[[\"float32\"]]'", "leaves"),
    ("UPDATE signatures SET leaves = '{}'", "leaves"),
    ("UPDATE batch_lists SET batches = x'69'", "cut off"),
    ("UPDATE batch_lists SET batches = x'6e6e'", "well formed"),
    ("UPDATE batch_lists SET batches = x'6e6e6e6e6e'", "batch"),
    ("UPDATE batch_lists SET batches = x'62ffffffffffffffff'", "cut off"),
    ("UPDATE arrays SET dtype = 'object'", "dtype"),
    ("UPDATE arrays SET dtype = 'float128'", "dtype"),
    ("UPDATE arrays SET nbytes = nbytes + 1", "cannot have"),
    ("UPDATE arrays SET nbytes = -1", "cannot have"),
    ("UPDATE arrays SET shape = '[3,4.0]'", "shape"),
    ("UPDATE arrays SET shape = '[' || replace(hex(zeroblob(40)), '00', '1,') || '1]'", "shape"),
    ("UPDATE arrays SET shape = '[0,4611686018427387904,4]', nbytes = 0", "larger than any"),
    ("UPDATE arrays SET shape = '[1000000000000]', dtype = 'int8', nbytes = 1000000000000", "larger than the file"),
    ("UPDATE arrays SET digest = x'00'", "digest"),
    ("UPDATE arrays SET digest = randomblob(16)", "kept state is missing"),
    ("DELETE FROM arrays WHERE array = 2", "index of arrays"),
    ("INSERT INTO arrays VALUES (900, zeroblob(16), 'int8', '[0]', 0, NULL)", "index of arrays"),
    ("UPDATE diagnosis SET json = '{\"verdict\":\"aligned\"}'", "diagnosis"),
    ("DELETE FROM diagnosis", "diagnosis"),
    ("INSERT INTO diagnosis SELECT 2, created, json, digest FROM diagnosis", "diagnosis"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "match"), FORGED)
def test_forged_record(path: Path, statement: str, match: str) -> None:
    change(path, statement, rechain=True)
    refused(path, match)


CONTENT: list[tuple[str, str]] = [
    ("UPDATE blobs SET data = zeroblob(length(data))", "does not match its digest"),
    ("UPDATE blobs SET data = CAST(data || x'00' AS BLOB)", "length"),
    ("UPDATE blobs SET data = substr(data, 2)", "missing or has not the length|does not match"),
    ("UPDATE blobs SET data = x''", "length"),
    ("UPDATE blobs SET data = 7", "length"),
    ("UPDATE blobs SET data = NULL", "length"),
    ("UPDATE blobs SET data = zeroblob(4000000)", "length|too big"),
    ("DELETE FROM blobs", "missing"),
    ("UPDATE arrays SET blob = NULL WHERE nbytes > 0", "missing"),
    ("UPDATE arrays SET blob = 9223372036854775807", "missing"),
    ("UPDATE arrays SET dtype = 'int32' WHERE dtype = 'float32'", "does not match its digest"),
]


@pytest.mark.parametrize(("statement", "match"), CONTENT)
@pytest.mark.parametrize("cache", [2**20, 0])
def test_forged_content(path: Path, statement: str, match: str, cache: int) -> None:
    change(path, statement, rechain=True)
    with read_trace(path, cache_bytes=cache) as trace:
        with pytest.raises(TraceError, match=match):
            for state in trace.states[:3]:
                trace.arrays(state)
        if "blobs" in statement:
            with pytest.raises(TraceError, match=match):
                trace.batch(trace.steps[0].batch)


@pytest.mark.parametrize(
    ("structure", "match"),
    [
        ({"x": {"leaf": 9}}, "structure"), ({"x": {"leaf": 0, "list": []}}, "structure"), ([], "parts"),
        ({"x": {"eval": "1"}}, "structure"),
        ({"x": {"leaf": "0"}}, "structure"), ({"x": [[[]]]}, "structure"),
    ],
)  # fmt: skip
def test_structure_that_is_no_tree(path: Path, structure: Any, match: str) -> None:
    change(path, "UPDATE signatures SET structure = ?", values=(json.dumps(structure),), rechain=True)
    with read_trace(path) as trace, pytest.raises(TraceError, match=match):
        trace.batch(trace.steps[0].batch)


def test_batch_of_one_row_a_billion_times(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.tracefile.format.MAX_BATCH_BYTES", 10**6)
    # The third step of the sample has a block of its own.
    change(path, "UPDATE steps SET rows = 60000, row_ids = zeroblob(4 * 60000) WHERE step = 2", rechain=True)
    with read_trace(path) as trace, pytest.raises(TraceError, match="larger than any batch"):
        trace.batch(trace.steps[2].batch)


def test_batch_without_its_whole_leaf(path: Path) -> None:
    change(path, "UPDATE steps SET whole = x''", rechain=True)
    with read_trace(path) as trace, pytest.raises(TraceError, match="parts"):
        trace.batch(trace.steps[0].batch)


def test_bool_that_is_neither(path: Path) -> None:
    content = b"\1\0\1\7"
    digest = xxhash.xxh3_128(b"bool:4\n" + content).digest()
    change(path, "UPDATE arrays SET digest = ? WHERE dtype = 'bool'", values=(digest,))
    change(path, "UPDATE steps SET whole = ? WHERE step = 0", values=(2 * digest,))  # a block of two
    change(
        path,
        "UPDATE blobs SET data = ? WHERE blob = (SELECT blob FROM arrays WHERE dtype = 'bool')",
        values=(content,),
        rechain=True,
    )
    with read_trace(path) as trace, pytest.raises(TraceError, match="neither 0 nor 1"):
        trace.batch(trace.steps[0].batch)


def test_diagnosis_that_is_no_json(path: Path) -> None:
    digest = xxhash.xxh3_128(encoded("now") + encoded("{]")).digest()
    change(path, "UPDATE diagnosis SET created = 'now', json = '{]', digest = ?", values=(digest,))
    with read_trace(path) as trace, pytest.raises(TraceError, match="damaged"):
        trace.diagnosis()


def test_rows_of_another_signature(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "a.diag") as writer:
        pairs = [writer.signature(Signature({"x": {"leaf": 0}}, (Leaf(name, (4,)),))) for name in ("int8", "uint8")]
        writer.rows(pairs[0], [b"0" * 16], None)
        writer.seal("complete")
    with read_trace(tmp_path / "a.diag") as trace, pytest.raises(TraceError, match="another signature"):
        trace.batch(BatchRef(pairs[1], np.array([0])))


def test_one_damaged_row_in_a_large_block(tmp_path: Path) -> None:
    rows = np.arange(40, dtype=np.uint8).reshape(20, 2)
    with TraceWriter(tmp_path / "a.diag") as writer:
        writer.signature(Signature({"x": {"leaf": 0}}, (Leaf("uint8", (2,)),)))
        writer.rows(0, row_digests(rows), rows)
        writer.seal("complete")
    rows[7, 1] ^= 1
    change(tmp_path / "a.diag", "UPDATE blobs SET data = ?", values=(rows.tobytes(),))
    with read_trace(tmp_path / "a.diag", cache_bytes=0) as trace:
        # Without a cache a few rows of a block are read alone, so the others are not held up by the damaged one.
        assert trace.batch(BatchRef(0, np.array([19, 6]))).x.tolist() == rows[[19, 6]].tolist()
        with pytest.raises(TraceError, match="row in it does not match"):
            trace.batch(BatchRef(0, np.array([19, 7])))
    with read_trace(tmp_path / "a.diag") as trace, pytest.raises(TraceError, match="row in it does not match"):
        trace.batch(BatchRef(0, np.array([19, 6])))


def test_damage_is_never_reported_as_not_kept(path: Path) -> None:
    change(path, "UPDATE blobs SET data = substr(data, 1, length(data) - 1) || x'ff'")
    with read_trace(path) as trace:
        with pytest.raises(TraceError):
            trace.arrays(trace.states[0])
        with pytest.raises(ReplayError):
            trace.arrays(trace.states[3])
