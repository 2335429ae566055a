"""Reads the weights of a `.keras` file: one member of the archive. Its config is not looked at, so nothing is built."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from diagnose.identify.files import archive, hdf5
from diagnose.identify.files.stored import Malformed, Stored

MEMBER = "model.weights.h5"


@contextmanager
def open_stored(file: BinaryIO) -> Iterator[Stored]:
    with archive.opened(file) as zipped:
        members = [info for info in zipped.infolist() if info.filename == MEMBER]
        if len(members) != 1:
            raise Malformed(f"as an archive of Keras it needs one member {MEMBER}, and has {len(members)}")
        content = io.BytesIO(archive.content(zipped, members[0]))
    with hdf5.open_stored(content) as stored:
        yield Stored("Keras", stored.entries, stored.load)
