"""Reads `.npz`: arrays of numbers by name, never a pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.lib.format as npy

from diagnose.identify.files import archive
from diagnose.identify.files.stored import Entry, Malformed, Stored, check_total, entry, shown
from diagnose.tracefile.model import NDArray

HEAD_BYTES = 1 << 16


@contextmanager
def open_stored(file: BinaryIO) -> Iterator[Stored]:
    with archive.opened(file) as zipped:
        members: dict[str, zipfile.ZipInfo] = {}
        found: dict[str, Entry] = {}
        for info in zipped.infolist():
            name = info.filename.removesuffix(".npy")
            if name in members:
                raise Malformed(f"it holds two arrays '{shown(name)}'")
            members[name] = info
            found[name] = _header(zipped, info, name)
        check_total(found, file.seek(0, 2))
        yield Stored("NumPy", found, lambda name: _load(archive.content(zipped, members[name]), name))


def _header(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Entry:
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive.content(zipped, info)  # says what is wrong
    try:
        with zipped.open(info) as member:
            stream = io.BytesIO(member.read(HEAD_BYTES))
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its format version is {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    except Exception as error:  # whatever a parser says to bytes that are no header
        raise Malformed(f"'{shown(name)}' is no array of NumPy ({shown(error)})") from error
    if dtype.hasobject or dtype.kind not in "biufc":
        raise Malformed(f"array '{shown(name)}' holds no numbers ({'a pickle' if dtype.hasobject else shown(dtype)})")
    made = entry(name, dtype.name, shape)
    if stream.tell() + made.nbytes != info.file_size:
        raise Malformed(
            f"array '{shown(name)}' has {info.file_size - stream.tell()} bytes where its shape takes {made.nbytes}"
        )
    return made


def _load(data: bytes, name: str) -> NDArray:
    try:
        array = np.asarray(npy.read_array(io.BytesIO(data), allow_pickle=False))
    except Exception as error:
        raise Malformed(f"array '{shown(name)}' is damaged ({shown(error)})") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)
