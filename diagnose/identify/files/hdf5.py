"""Reads `.weights.h5` (and Keras's older `.h5`): plain groups and datasets only, no link followed, no plugin loaded."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import h5py
import numpy as np

from diagnose.identify.files.stored import MOST_ARRAYS, Entry, Malformed, Stored, check_total, entry, shown
from diagnose.tracefile.digest import numpy_dtype
from diagnose.tracefile.model import NDArray

FILTERS: Final = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
}
"""Those that HDF5 and h5py bring along. Any other is a plugin: a library that HDF5 would look for and load."""

MOST_EXPANSION: Final = 1100
"""Deflate's limit is 1032 to 1."""

MOST_CHUNKS: Final = 100_000
"""Of one array."""

MOST_LZF_CHUNK: Final = 1 << 20
"""h5py's own largest. LZF gives up to 90 times as much as it gets, and HDF5 takes it all."""

MOST_DEPTH: Final = 64


@contextmanager
def open_stored(file: BinaryIO) -> Iterator[Stored]:
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        opened = h5py.File(file, "r")
    except Exception as error:
        raise Malformed(f"it is no whole HDF5 file ({shown(error)})") from error
    with opened:
        found: dict[str, Entry] = {}
        try:
            _walk(opened, "", found, set(), 0)
        except (KeyError, RuntimeError, ValueError, TypeError, OSError) as error:
            raise Malformed(f"it is damaged ({shown(error)})") from error
        check_total(found, file_bytes)
        yield Stored("HDF5", found, lambda name: _load(opened, name, found[name]))


def _walk(group: Any, path: str, found: dict[str, Entry], seen: set[int], depth: int) -> None:
    if depth > MOST_DEPTH:
        raise Malformed("its groups are nested too deeply")
    for name in group.id:  # names of links, none of which is followed by this
        name = name.decode("utf-8", "replace")
        where = f"{path}/{name}" if path else name
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
            raise Malformed(f"'{shown(where)}' is {kind}, which is not followed")
        info = h5py.h5o.get_info(group.id, name.encode())
        if info.addr in seen:
            raise Malformed(f"'{shown(where)}' is linked twice")
        seen.add(info.addr)
        if len(seen) > 2 * MOST_ARRAYS:
            raise Malformed("it holds too many groups")
        if info.type == h5py.h5o.TYPE_GROUP:
            _walk(group[name], where, found, seen, depth + 1)
        elif info.type == h5py.h5o.TYPE_DATASET:
            found[where] = _checked(h5py.h5d.open(group.id, name.encode()), where)
        else:
            raise Malformed(f"'{shown(where)}' is neither a group nor an array")


def _checked(dataset: Any, name: str) -> Entry:
    """The entry of a dataset, after everything that reading it would do was found harmless."""
    settings = dataset.get_create_plist()
    layout = settings.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise Malformed(f"array '{shown(name)}' is put together from other files (a virtual dataset)")
    if settings.get_external_count():
        raise Malformed(f"array '{shown(name)}' is stored in another file (external storage)")
    numbers = _filters(settings)
    for number in numbers:
        if number not in FILTERS:
            raise Malformed(f"array '{shown(name)}' is stored with filter {number}, which would load a plugin")
    if len(numbers) != len(set(numbers)) or {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF} <= set(numbers):
        raise Malformed(f"array '{shown(name)}' is compressed more than once")
    made = entry(name, _dtype(dataset, name), _shape(dataset, name))
    stored = dataset.get_storage_size()
    if layout == h5py.h5d.CHUNKED:
        if made.nbytes > MOST_EXPANSION * stored:
            raise Malformed(f"array '{shown(name)}' has {stored} bytes and claims to expand to {made.nbytes}")
        _check_chunk(settings.get_chunk(), made, name)
        if math.prod(_chunks_along(settings.get_chunk(), made)) > MOST_CHUNKS:
            raise Malformed(f"array '{shown(name)}' has more than {MOST_CHUNKS} chunks")
    elif stored != made.nbytes:
        raise Malformed(f"array '{shown(name)}' has {stored} bytes where its shape takes {made.nbytes}")
    return made


def _filters(settings: Any) -> list[int]:
    return [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]


def _chunks_along(chunk: tuple[int, ...], made: Entry) -> list[int]:
    return [-(-n // c) for n, c in zip(made.shape, chunk, strict=True)]


def _check_chunk(chunk: tuple[int, ...], made: Entry, name: str) -> None:
    """HDF5 takes memory for one whole chunk, however little of it the array covers."""
    size = Entry(made.dtype, chunk).nbytes
    if size > 16 * made.nbytes + (1 << 20):
        raise Malformed(f"array '{shown(name)}' has chunks of {size} bytes, larger than itself")


def _shape(dataset: Any, name: str) -> tuple[int, ...]:
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise Malformed(f"array '{shown(name)}' has no content")
    return tuple(int(n) for n in space.get_simple_extent_dims())


def _dtype(dataset: Any, name: str) -> str:
    stored = dataset.get_type()
    kind = stored.get_class()
    if kind == h5py.h5t.OPAQUE:
        # What h5py makes of bfloat16; Keras says so in an attribute.
        if stored.get_size() == 2 and _says_bfloat16(dataset):
            return "bfloat16"
    elif kind in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
        dtype = np.dtype(stored.dtype)
        if dtype.kind in "biuf" and not dtype.hasobject and dtype.itemsize == stored.get_size():
            return str(dtype.name)
    raise Malformed(f"array '{shown(name)}' holds no numbers")


def _says_bfloat16(dataset: Any) -> bool:
    if not h5py.h5a.exists(dataset, b"dtype"):
        return False
    attribute = h5py.h5a.open(dataset, b"dtype")
    if attribute.get_type().get_class() != h5py.h5t.STRING or attribute.get_storage_size() > 64:
        return False
    text: object = h5py.Dataset(dataset).attrs["dtype"]
    return text in ("bfloat16", b"bfloat16")


def _check_contents(dataset: Any, made: Entry, name: str) -> None:
    """That no chunk expands to more than a chunk: HDF5 goes on expanding it as long as there is something to expand."""
    settings = dataset.get_create_plist()
    filters = _filters(settings) if settings.get_layout() == h5py.h5d.CHUNKED else []
    packed = [i for i, number in enumerate(filters) if number in (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF)]
    if not filters:
        return
    chunk = settings.get_chunk()
    most = Entry(made.dtype, chunk).nbytes + 4  # a checksum may have been added before
    if h5py.h5z.FILTER_LZF in filters and most > MOST_LZF_CHUNK + 4:
        raise Malformed(f"array '{shown(name)}' has chunks of {most - 4} bytes, too large for LZF")
    stored_chunks: list[Any] = []
    dataset.chunk_iter(stored_chunks.append)  # looking up a single one goes through all of them
    if len(stored_chunks) != math.prod(_chunks_along(chunk, made)):
        raise Malformed(f"array '{shown(name)}' lacks a part of its content")
    for stored in stored_chunks:
        # Deflate may make a little more of what cannot be compressed, and a checksum may be added behind it.
        if stored.size > most + most // 1000 + 64:
            raise Malformed(f"array '{shown(name)}' has a chunk of {stored.size} bytes where it takes {most - 4}")
        # HDF5 takes a chunk that is too short for a whole one, and reads beyond its end.
        masked = {number for i, number in enumerate(filters) if stored.filter_mask >> i & 1}
        checksum = 4 if h5py.h5z.FILTER_FLETCHER32 in filters and h5py.h5z.FILTER_FLETCHER32 not in masked else 0
        length = stored.size
        if packed and filters[packed[0]] not in masked:
            length = most - 4 + checksum if stored.size > checksum else 0
            if filters[packed[0]] == h5py.h5z.FILTER_DEFLATE:
                data = dataset.read_direct_chunk(stored.chunk_offset)[1]
                expanded = len(zlib.decompressobj().decompress(data, most + 1))
                if expanded > most:
                    raise Malformed(f"array '{shown(name)}' has a chunk that expands to more than its {most - 4} bytes")
                length = length if expanded >= most - 4 else 0
        if length != most - 4 + checksum:
            raise Malformed(f"array '{shown(name)}' has a chunk that is not as long as its {most - 4} bytes")


def _load(opened: Any, name: str, made: Entry) -> NDArray:
    try:
        dataset = opened[name]
        _check_contents(dataset.id, made, name)
        array: NDArray = np.asarray(dataset[()])
    except (KeyError, RuntimeError, ValueError, TypeError, OSError, zlib.error) as error:
        raise Malformed(f"array '{shown(name)}' is damaged ({shown(error)})") from error
    if made.dtype == "bfloat16":
        array = np.frombuffer(array.tobytes(), numpy_dtype("bfloat16")).reshape(made.shape)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
