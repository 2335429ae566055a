"""Zip archives, for the readers of `.keras` and `.npz`: members within bounds, nothing written to disk."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from diagnose.identify.files.stored import MOST_ARRAYS, Malformed, check_expanded, shown


@contextmanager
def opened(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The archive, with every member it lists checked by what it claims."""
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        zipped = zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises of many kinds for what is not quite a zip file
        raise Malformed(f"its zip directory is damaged ({shown(error)})") from error
    with zipped:
        members = zipped.infolist()
        if len(members) > MOST_ARRAYS:
            raise Malformed(f"it holds {len(members)} members; at most {MOST_ARRAYS} are read")
        check_expanded(sum(info.file_size for info in members), file_bytes)
        yield zipped


def content(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One member, never more of it than the directory says."""
    if info.flag_bits & 1:
        raise Malformed(f"its member {shown(info.filename)} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Malformed(f"its member {shown(info.filename)} is compressed in another way than Keras and NumPy do")
    try:
        with zipped.open(info) as stream:
            data = stream.read(info.file_size)
            # The last read is what makes zipfile compare the checksum.
            if len(data) != info.file_size or stream.read(1):
                raise Malformed(f"its member {shown(info.filename)} is not as long as its directory says")
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(f"its member {shown(info.filename)} is damaged ({shown(error)})") from error
    return data
