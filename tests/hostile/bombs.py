"""Files of at most 10 MB, each made to cost a reader far more than it costs to send: one of each kind. Their digests
fit. `BOMBS` maps a name to what makes of a whole trace (`whole.write`) such a file."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnose.result.codec import to_dict
from tests.hostile import forge
from tests.report import examples

PAGE = 65536
MOST = 9_000_000
"""Bytes of text put into a file that may have 10 MB in all."""
MANY = 20_000


# ── pages ──


def page_tree(table: str) -> Callable[[Path], None]:
    """The root of a table leads 7,000 times to a page that leads 7,000 times to … the page it was."""

    def make(path: Path) -> None:
        db = sqlite3.connect(path)
        found = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        db.close()
        content = bytearray(path.read_bytes())
        root = 1 if found is None else found[0]
        start = (root - 1) * PAGE
        if root == 1:  # whose first 100 bytes are the file's header; its cells stay where they are
            cells = struct.unpack(">H", content[103:105])[0]
            leaf = bytearray(PAGE)
            leaf[:8] = content[100:108]
            leaf[8 : 8 + 2 * cells] = content[108 : 108 + 2 * cells]
            low = struct.unpack(">H", content[105:107])[0]
            leaf[low:] = content[low:PAGE]
        else:
            leaf = content[start : start + PAGE]
        content += leaf
        for _ in range(3):
            child = len(content) // PAGE
            content += interior(child, 0)
        top = interior(len(content) // PAGE, 100 if root == 1 else 0)
        content[start + (100 if root == 1 else 0) : start + PAGE] = top
        content[28:32] = struct.pack(">I", len(content) // PAGE)
        path.write_bytes(content)

    return make


def interior(child: int, offset: int) -> bytes:
    """An inner page of a table, all of whose cells lead to one page. `offset`: where it starts in its page."""
    cells = [struct.pack(">I", child) + bytes([number // 128 + 128, number % 128]) for number in range(7000)]
    body = bytearray(PAGE - offset)
    at = PAGE
    places = []
    for cell in cells:
        at -= len(cell)
        body[at - offset : at - offset + len(cell)] = cell
        places.append(struct.pack(">H", at))
    body[:12] = struct.pack(">BHHHBI", 5, 0, len(cells), at, 0, child)
    body[12 : 12 + 2 * len(cells)] = b"".join(places)
    return bytes(body)


def unsealed_page_tree(path: Path) -> None:
    """The same in a file without a seal, which is copied."""
    forge.rewrite(path, [record for record in forge.records(path) if record[0] != "seal"])
    page_tree("seal")(path)
    page_tree("steps")(path)


def journal(path: Path) -> None:
    """A journal by which the file was 140 TB large, beside a file whose page tree never ends."""
    page_tree("info")(path)
    magic = bytes.fromhex("d9d505f920a163d7")
    path.with_name(path.name + "-journal").write_bytes(
        (magic + struct.pack(">IIIII", 0, 0, 0x7FFF_FFFF, 512, PAGE)).ljust(512, b"\0")
    )


# ── JSON ──


def header(text: str) -> Callable[[Path], None]:
    """`text` is the value of a row of `info` that nobody asks for."""
    return lambda path: forge.add(path, "info", [["other", text]])


def _set(key: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Changes a row of `info`."""

    def make(path: Path) -> None:
        found = forge.records(path)
        for table, columns in found:
            if table == "info" and columns[0] == key:
                columns[1] = json.dumps(change(json.loads(columns[1])))
        forge.rewrite(path, found)

    return make


def events(kind: str) -> Callable[[Path], None]:
    return lambda path: forge.add(path, "events", [[kind, 4, 12, json.dumps(EVENTS[kind])] for _ in range(MANY)])


def epochs(path: Path) -> None:
    row = next(columns for table, columns in reversed(forge.records(path)) if table == "epochs")
    forge.add(path, "epochs", [[5 + i, 12, 12, *row[3:]] for i in range(MANY)])


def many_names(path: Path) -> None:
    """Another metric in each epoch's log."""
    row = next(columns for table, columns in reversed(forge.records(path)) if table == "epochs")
    rows = [[5 + i, 12, 12, f'{{"m{i}":0.5,"loss":0.5}}', *row[4:]] for i in range(MANY)]
    forge.add(path, "epochs", rows)


def states(path: Path) -> None:
    row = next(columns for table, columns in forge.records(path) if table == "states")
    forge.add(path, "states", [[6, 1, row[2], *first_state(row)] for _ in range(MANY)])


def first_state(row: list[Any]) -> list[Any]:
    """What the first of a row's states holds, behind its label; not kept."""
    return [row[3][:48], None, row[5][: len(row[5]) // row[1]], None, b"\0"]


def long_fit(path: Path) -> None:
    """Many of everything that an analysis compares with everything else: epochs, versions, events."""
    found = forge.records(path)
    rows = {table: next(columns for name, columns in reversed(found) if name == table) for table in forge.CHAINED}
    steps, states = rows["steps"], rows["states"]
    metrics = steps[12][: len(steps[12]) // (2 * steps[3])]
    first_step = [steps[4], steps[5][: 4 * steps[6]], *steps[6:11], b"\x06", 2 * metrics, b"", steps[14][:8]]
    many: list[forge.Record] = []
    for i in range(MANY // 3):
        logs = json.dumps({"loss": (i * 7919) % 1009 / 7, "val_loss": (i * 31) % 97 / 7, "accuracy": 0.5})
        step = [12 + i, 5 + i, 0, 1, *first_step]
        many += [("steps", step), ("states", [13 + i, 1, "version", *first_state(states)])]
        many.append(("epochs", [5 + i, 12 + i, 13 + i, logs, *rows["epochs"][4:]]))
        many.append(("evaluations", [5 + i, 13 + i, 19 + i, *rows["evaluations"][3:]]))
        for kind, detail in EVENTS.items():
            many.append(("events", [kind, 5 + i, 13 + i, json.dumps(detail)]))
    at = next(i for i, (name, _) in enumerate(found) if name == "seal")
    forge.rewrite(path, found[:at] + many + found[at:])


EVENTS: dict[str, dict[str, Any]] = {
    "weights-changed": {"callback": "EarlyStopping", "hook": "on_epoch_end", "before": 1, "after": 2},
    "file-saved": {"callback": "ModelCheckpoint", "hook": "on_epoch_end", "place": 0, "version": 12, "path": "b.keras"},
    "learning-rate": {"callback": "ReduceLROnPlateau", "hook": "on_epoch_end", "before": 0.5, "after": 0.4},
    "metrics-reset": {"callback": "Stop", "hook": "on_epoch_end"},
    "optimizer-changed": {"callback": "Stop", "hook": "on_epoch_end"},
}


def tiny_events(path: Path) -> None:
    forge.add(path, "events", [["", None, None, "{}"]] * 500_000)


def tiny_batches(path: Path) -> None:
    forge.add(path, "batch_lists", [[b"x" * 16, b"n" * MOST]])


def signatures(path: Path) -> None:
    leaf = '["int8",[],0]'
    forge.add(path, "signatures", [["{}", f"[{','.join([leaf] * 100_000)}]"]])
    forge.add(path, "row_blocks", [[24 + i, 1, 1, b"x" * 16, 0, None] for i in range(MANY)])


def long_names(path: Path) -> None:
    """Names of 1 MB wherever a report shows one."""
    found = forge.records(path)
    name = "w\u0301" * 150_000  # 150,000 columns wide, 1 MB as JSON
    for table, columns in found:
        if table == "info" and columns[0] in ("callbacks", "model", "metrics"):
            text = json.loads(columns[1])
            for entry in text["layers"][:2] if columns[0] == "model" else text[:2]:
                entry["name" if columns[0] != "callbacks" else "class"] = name
            columns[1] = json.dumps(text)
    forge.rewrite(path, found)


# ── stored diagnoses ──


def diagnosis(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A stored diagnosis, changed."""

    def make(path: Path) -> None:
        value = to_dict(examples.many_batches())
        change(value)
        forge.rewrite(path, forge.records(path), json.dumps(value, separators=(",", ":")))

    return make


def _many(place: str, number: int = MANY) -> Callable[[Path], None]:
    """The first entry of a list, many times."""

    def change(value: dict[str, Any]) -> None:
        value[place] = value[place][:1] * number

    return diagnosis(change)


def _stored_epochs(value: dict[str, Any]) -> None:
    first = value["epochs"][0]
    value["epochs"] = [
        {**first, "epoch": i + 1, "first_version": i, "last_version": i + 1, "logged": {"loss": (i * 7919) % 1009 / 7}}
        for i in range(MANY * 9 // 10)
    ]


def _names(value: dict[str, Any]) -> None:
    """Every kind of text in a report, as long as fits."""
    name = "w" * 280_000
    value["name"] = value["headline"] = value["notice"] = value["model"]["name"] = name
    value["findings"][0] |= {"title": name, "advice": f"{name}\n```\n{name}\n```", "evidence": {name: name}}
    value["restoration"] |= {"callback": name, "monitor": name, "sentence": name, "written_by": name}
    value["ledgers"][0] |= {"metric": name}
    for ledger in value["ledgers"]:
        ledger["entries"][0]["factor"] = name
    value["epochs"][0]["logged"] = {**value["epochs"][0]["logged"], name: 1.0}
    value["environment"] = {name: name}


def _metrics(value: dict[str, Any]) -> None:
    value["epochs"] = [{**row, "logged": {f"m{i}": i / 7 for i in range(MANY)}} for row in value["epochs"][:10]]


def _policies(value: dict[str, Any]) -> None:
    row = {"policy": "p", "label": "l", "monitor": "loss", "reason": None, "held_value": 0.1}
    value["policies"] = {"metric": "loss", "mode": "min", "notes": ["a note"] * MANY,
                         "rows": [{**row, "reason": f"r{i}" if i % 2 else None} for i in range(MANY)]}  # fmt: skip


def _saved(value: dict[str, Any]) -> None:
    value["saved"] = [
        {"callback": "c", "file": "f", "event": 1, "epoch": None, "version": None, "version_epoch": None}
    ] * MANY


def _entries(value: dict[str, Any]) -> None:
    """Ledgers that as figures would be taller than any image may be."""
    for ledger in value["ledgers"]:
        ledger["entries"] = ledger["entries"][:1] * (2 * MANY // len(value["ledgers"]))


def _errors(value: dict[str, Any]) -> None:
    ledger = {**value["ledgers"][0], "entries": []}
    value["ledgers"] = [{**ledger, "metric": f"m{i}"} for i in range(MANY)]
    value["replay"]["max_abs_error"] = {f"m{i}": 0.1 for i in range(MANY)}
    value["replay"]["epochs"] = list(range(1, 4 * MANY, 2))


def _evidence(value: dict[str, Any]) -> None:
    value["findings"][0]["evidence"] = {f"e{i}": i / 7 for i in range(10 * MANY)}


def _notes(value: dict[str, Any]) -> None:
    value["restoration"]["notes"] = [""] * (MOST // 9)


BOMBS: dict[str, Callable[[Path], None]] = {
    **{f"pages of {table}": page_tree(table) for table in ("seal", "sqlite_master", "info", "arrays", "diagnosis")},
    "pages without a seal": unsealed_page_tree,
    "journal": journal,
    "empty lists": header(f"[{','.join(['[]'] * (MOST // 3))}]"),
    "empty objects": header(f"[{','.join(['{}'] * (MOST // 3))}]"),
    "short numbers": header(f"[{','.join(['1.1e1'] * (MOST // 6))}]"),
    "long integers": header(f"[{','.join(['9' * 4000] * (MOST // 4001))}]"),
    "deep lists": header("[" * (MOST // 2) + "]" * (MOST // 2)),
    "deep objects": header('{"":' * (MOST // 5) + "0" + "}" * (MOST // 5)),
    "long names": long_names,
    "epochs": epochs,
    "states": states,
    "tiny events": tiny_events,
    "tiny batches": tiny_batches,
    "signatures": signatures,
    **{f"events {kind}": events(kind) for kind in EVENTS},
    "long fit": long_fit,
    "many names in logs": many_names,
    "many metrics": _set("metric_variables", lambda found: found * (MANY // 8)),
    "callbacks": _set("callbacks", lambda found: found[:3] * (MANY // 10)),
    "layers": _set("model", lambda found: {**found, "layers": found["layers"] * (MANY // 4)}),
    "stored epochs": diagnosis(_stored_epochs),
    "stored names": diagnosis(_names),
    "stored metrics": diagnosis(_metrics),
    "stored findings": _many("findings"),
    "stored ledgers": _many("ledgers", number=15_000),
    "stored entries": diagnosis(_entries),
    "stored policies": diagnosis(_policies),
    "stored files": diagnosis(_saved),
    "stored errors": diagnosis(_errors),
    "stored evidence": diagnosis(_evidence),
    "stored notes": diagnosis(_notes),
}  # fmt: skip
