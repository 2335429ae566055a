"""Turns a table of a trace into a tree of pages that leads to one leaf over and over. Knows SQLite's file format."""

from __future__ import annotations

import sqlite3
import struct

PAGE = 65536
TABLES = ("seal", "info", "events", "diagnosis", "arrays", "blobs")
LEVELS = 4
CELLS = 4000


def looped(content: bytes, table: str) -> bytes:
    """The trace, whose `table` has become `LEVELS` pages of `CELLS` entries each, all of which name the page below."""
    db = sqlite3.connect(":memory:")
    db.deserialize(content)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    db.close()
    pages = [content[i : i + PAGE] for i in range(0, len(content), PAGE)]
    pages.append(pages[root - 1])
    for _ in range(LEVELS - 1):
        pages.append(_interior(len(pages)))
    pages[root - 1] = _interior(len(pages))
    made = bytearray(b"".join(pages))
    made[28:32] = struct.pack(">I", len(pages))
    return bytes(made)


def _interior(child: int) -> bytes:
    """An interior page of a table: its head, pointers to its cells, and the cells from the end."""
    cells = [struct.pack(">I", child) + _varint(row + 1) for row in range(CELLS)]
    places, end = [], PAGE
    body = b""
    for cell in cells:
        end -= len(cell)
        places.append(end)
        body = cell + body
    head = b"\x05" + struct.pack(">HHHB", 0, CELLS, end, 0) + struct.pack(">I", child)
    page = head + b"".join(struct.pack(">H", place) for place in places)
    return page + bytes(PAGE - len(page) - len(body)) + body


def _varint(number: int) -> bytes:
    parts = [number & 127]
    while number := number >> 7:
        parts.append(128 | number & 127)
    return bytes(reversed(parts))
