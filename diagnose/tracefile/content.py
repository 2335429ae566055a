"""Loads arrays and rows of an open trace, each checked against its digest, through a cache of bounded size."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice

import numpy as np
import numpy.typing as npt

from diagnose.errors import ReplayError
from diagnose.tracefile.digest import content_digest, row_digests
from diagnose.tracefile.load import ArrayEntry, Records, RowBlock
from diagnose.tracefile.model import Digest, NDArray
from diagnose.tracefile.rows import typed

Bytes = npt.NDArray[np.uint8]


DIGESTS_ONLY = "the trace holds only digests of some rows; give the data they came from to have them replayed"


class Contents:
    """Arrays and rows by digest and by id. Methods raise ValueError or sqlite3.Error for damage, ReplayError for what
    was not kept."""

    def __init__(self, db: sqlite3.Connection, records: Records, cache_bytes: int) -> None:
        self._db = db
        self._arrays: Mapping[Digest, ArrayEntry] = records.arrays
        self._blocks = records.blocks
        self._starts = [block.first_row for block in records.blocks]
        self._widths = [signature.row_nbytes for signature in records.signatures]
        self._cache: OrderedDict[Digest | int, NDArray] = OrderedDict()
        self._cached = 0
        self._supplied: dict[int, Bytes] = {}
        self._supplied_arrays: dict[Digest, NDArray] = {}
        self._wanted: dict[tuple[int, Digest], list[int]] | None = None
        self._cache_bytes = cache_bytes
        self._rows_fit = sum(b.count * self._widths[b.signature] for b in records.blocks if b.kept) <= cache_bytes

    def array(self, digest: Digest) -> NDArray:
        """The array of this digest, read-only. KeyError if the file does not list it and nobody supplied it."""
        if digest in self._supplied_arrays:
            return self._supplied_arrays[digest]
        entry = self._arrays[digest]
        found = self._cached_or_none(digest)
        if found is None:
            data = self._fetch(entry.blob, entry.nbytes)
            if content_digest(entry.dtype, entry.shape, (data,)) != digest:
                raise ValueError("an array in it does not match its digest")
            try:
                found = typed(data, entry.dtype, entry.shape)
            except ImportError:
                raise ReplayError(f"The trace holds {entry.dtype} arrays; install ml_dtypes to read them.") from None
            self._keep(digest, found)
        return found

    def row_digest(self, row: int) -> Digest:
        """The digest of one packed row. ValueError if there is no such row."""
        block = self._blocks[self._block_of(row)]
        start = 16 * (row - block.first_row)
        return block.digests[start : start + 16]

    def rows(self, ids: npt.NDArray[np.int64], signature: int) -> Bytes:
        """The packed rows of these ids, uint8 of shape (n, row_nbytes)."""
        packed = np.empty((len(ids), self._widths[signature]), np.uint8)
        if not len(ids):
            return packed
        if ids.min() < 0:
            raise ReplayError("The rows of this batch were not recorded.")
        blocks = np.searchsorted(np.asarray(self._starts, np.int64), ids, side="right") - 1
        for number in np.unique(blocks).tolist():
            block = self._blocks[number]
            if block.signature != signature:
                raise ValueError("a batch names rows of another signature")
            where = np.flatnonzero(blocks == number)
            if block.kept:
                packed[where] = self._block_rows(number, block, ids[where] - block.first_row)
            else:
                packed[where] = self._supplied_rows(ids[where])
        return packed

    def supply(self, packed: Bytes, signature: int) -> int:
        """Takes packed rows from outside as contents of rows known by digest only. Returns how many these are."""
        if self._wanted is None:
            self._wanted = {}
            for block in self._blocks:
                if not block.kept:
                    for i in range(block.count):
                        key = (block.signature, block.digests[16 * i : 16 * i + 16])
                        self._wanted.setdefault(key, []).append(block.first_row + i)
        taken = 0
        for place, digest in enumerate(row_digests(packed)):
            for row in self._wanted.get((signature, digest), ()):
                taken += row not in self._supplied
                self._supplied[row] = packed[place]
        return taken

    def lists(self, digest: Digest) -> bool:
        """Whether the content of this digest is in the file, or was supplied."""
        return digest in self._arrays or digest in self._supplied_arrays

    def supply_array(self, digest: Digest, array: NDArray) -> None:
        """Takes an array from outside as the content of a digest that the file does not list."""
        array.flags.writeable = False
        self._supplied_arrays[digest] = array

    def _supplied_rows(self, ids: npt.NDArray[np.int64]) -> Bytes:
        try:
            return np.stack([self._supplied[row] for row in ids.tolist()])
        except KeyError:
            raise ReplayError(DIGESTS_ONLY) from None

    def _block_rows(self, number: int, block: RowBlock, wanted: npt.NDArray[np.int64]) -> Bytes:
        whole = self._cached_or_none(number)
        if whole is None:
            width = self._widths[block.signature]
            if not self._rows_fit and block.blob is not None and len(wanted) * 4 < block.count:
                return self._single_rows(block, block.blob, wanted, width)
            whole = self._fetch(block.blob, block.count * width).reshape(block.count, width)
            if b"".join(row_digests(whole)) != block.digests:
                raise ValueError("a row in it does not match its digest")
            whole.flags.writeable = False
            self._keep(number, whole)
        chosen: Bytes = whole[wanted]
        return chosen

    def _single_rows(self, block: RowBlock, blob: int, wanted: npt.NDArray[np.int64], width: int) -> Bytes:
        packed = np.empty((len(wanted), width), np.uint8)
        with self._db.blobopen("blobs", "data", blob, readonly=True) as handle:
            if len(handle) != block.count * width:
                raise ValueError("a block of rows has not the length it should have")
            for at in np.argsort(wanted, kind="stable").tolist():
                handle.seek(int(wanted[at]) * width)
                packed[at] = np.frombuffer(handle.read(width), np.uint8)
        for digest, row in zip(row_digests(packed), wanted.tolist(), strict=True):
            if digest != block.digests[16 * row : 16 * row + 16]:
                raise ValueError("a row in it does not match its digest")
        return packed

    def _block_of(self, row: int) -> int:
        number = bisect_right(self._starts, row) - 1
        if number < 0 or row >= self._blocks[number].first_row + self._blocks[number].count:
            raise ValueError(f"there is no row {row}")
        return number

    def _fetch(self, blob: int | None, nbytes: int) -> Bytes:
        data = np.empty(nbytes, np.uint8)
        at = 0
        number = blob
        while at < nbytes:
            found = (
                None
                if number is None
                else self._db.execute("SELECT data FROM blobs WHERE blob = ?", (number,)).fetchone()
            )
            if found is None or type(found[0]) is not bytes or not 0 < len(found[0]) <= nbytes - at:
                raise ValueError("a content in it is missing or has not the length it should have")
            data[at : at + len(found[0])] = np.frombuffer(found[0], np.uint8)
            at += len(found[0])
            number = 0 if number is None else number + 1
        return data

    def _cached_or_none(self, key: Digest | int) -> NDArray | None:
        if key not in self._cache:
            return None
        self._cache.move_to_end(key)
        return self._cache[key]

    def _keep(self, key: Digest | int, array: NDArray) -> None:
        if array.nbytes > self._cache_bytes:
            return
        self._cache[key] = array
        self._cached += array.nbytes
        while self._cached > self._cache_bytes:
            oldest = next(islice(self._cache, 1))
            self._cached -= self._cache.pop(oldest).nbytes
