"""Writes a trace file: synchronous, one thread at a time. Knows nothing of Keras, queues or budgets."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import Value, encode_values
from diagnose.tracefile.digest import array_bytes, array_digest, dtype_name
from diagnose.tracefile.jsontext import to_json
from diagnose.tracefile.model import DTYPES, BatchRef, Digest, Json, Layout, NDArray, Signature
from diagnose.tracefile.open_blocks import OpenStates, OpenSteps, Took
from diagnose.tracefile.store import TraceStore


class TraceWriter:
    """Writes one trace, in transactions: rows are buffered until `commit()` ends one with a digest of all rows so far.

    The constructor replaces an older trace at `path`, makes missing folders, and raises TraceWriteError if the file
    cannot be created,
    is something else than a trace, or is being written by someone else.

    Every method raises TraceWriteError when the file cannot be written (disk full, …), ValueError or TypeError for
    what a trace cannot hold.
    After a failed write everything since the last commit is taken back and only `event`, `commit`, `seal` and `close`
    still work.
    """

    def __init__(self, path: Path, *, part_bytes: int = fmt.PART_BYTES, page_bytes: int = fmt.PAGE_BYTES) -> None:
        self.path = Path(path)
        self._store = TraceStore(self.path, part_bytes, page_bytes)
        self._insert = self._store.insert
        self._rows = 0
        self._states = 0
        self._evaluations = 0
        self._row_bytes: list[int] = []
        self._arrays: dict[Digest, None] = {}
        self._signatures: dict[tuple[str, str], int] = {}
        self._batch_lists: set[Digest] = set()
        self._open_steps = OpenSteps(self._insert)
        self._open_states = OpenStates(self._insert)
        self._layouts = _Layouts()

    @property
    def bytes_written(self) -> int:
        """Payload bytes so far, contents and records."""
        return self._store.bytes_written

    @property
    def page_bytes(self) -> int:
        """The page size of the file."""
        return self._store.page_bytes

    @property
    def beats(self) -> int:
        """A count that grows while the file is written; for other threads, which see by it that the disk answers."""
        return self._store.beats

    @property
    def syncing(self) -> bool:
        """Whether the file is being brought to the disk itself, which can take long without a beat."""
        return self._store.syncing

    def nbytes(self, *, exact: bool = False) -> int:
        """Bytes of the file, without its journal, as of the next commit: an upper bound, or `exact` at some cost."""
        return self._store.nbytes(exact=exact) + 2 * (self._open_steps.nbytes + self._open_states.nbytes)

    # -- records -------------------------------------------------------------------------------------------------

    def info(self, key: str, value: Json) -> None:
        """Keeps one fact about the fit. A later value of the same key takes its place."""
        self._insert(fmt.INFO, _text(key), _json(value))

    def event(
        self, kind: str, detail: Mapping[str, Json], *, epoch: int | None = None, step: int | None = None
    ) -> None:
        """Keeps something that happened (kinds: `diagnose.tracefile.model.Event`). Works after a failed write, so that
        the reason can be kept."""
        self._insert(fmt.EVENTS, _text(kind), _int(epoch), _int(step), _json(detail), after_failure=True)

    def signature(self, signature: Signature) -> int:
        """The number of a signature; the same signature gets the same number."""
        for leaf in signature.leaves:
            if leaf.dtype not in DTYPES:
                raise TypeError(f"A trace cannot hold rows of dtype {leaf.dtype}.")
        leaves = [[leaf.dtype, [int(n) for n in leaf.shape], bool(leaf.whole)] for leaf in signature.leaves]
        key = (_json(signature.structure), _json(leaves))
        if key not in self._signatures:
            self._insert(fmt.SIGNATURES, *key)
            self._signatures[key] = len(self._signatures)
            self._row_bytes.append(signature.row_nbytes)
        return self._signatures[key]

    def rows(self, signature: int, digests: Sequence[Digest], packed: npt.NDArray[np.uint8] | None) -> int:
        """Adds new rows as one block; packed is uint8 of shape (n, row_nbytes), None if only digests are kept.

        Returns the id of the first row; the others follow it.
        """
        first = self._rows
        width = self._row_bytes[signature]
        if packed is not None and (packed.shape != (len(digests), width) or packed.dtype != np.uint8):
            raise ValueError(
                f"packed rows must be uint8 of shape {(len(digests), width)}, not {packed.dtype} {packed.shape}"
            )
        if first + len(digests) > np.iinfo(_SHORT).max:
            raise ValueError("a trace cannot hold as many rows")
        # One blob per block, unless a single row is larger than a blob may be: then single rows can be read out of it.
        per_block = max(1, self._store.part_bytes // max(1, width))
        for start in range(0, len(digests), per_block):
            part = digests[start : start + per_block]
            blob = (
                None if packed is None else self._store.insert_content(array_bytes(packed[start : start + per_block]))
            )
            kept = int(packed is not None)
            self._insert(fmt.ROW_BLOCKS, first + start, len(part), int(signature), b"".join(part), kept, blob)
            self._rows += len(part)
        return first

    def state(
        self, *, version: int | None, label: str, trainable: Digest, non_trainable: Digest, seeds: Digest, optimizer:
        Digest | None,
        arrays: Sequence[Digest], optimizer_arrays: Sequence[Digest] | None, kept: bool,
    ) -> int:  # fmt: skip
        """Keeps a state and returns its id. Where `kept`, its arrays were handed to `array` before."""
        if kept and not all(digest in self._arrays for digest in arrays):
            raise ValueError("a state was called kept before all of its arrays were stored")
        self._store.ready()
        for digest in (trainable, non_trainable, seeds, *arrays):
            _digest(digest)
        self._open_states.add(
            _number(version), _text(label), trainable + non_trainable + seeds, optimizer, b"".join(arrays),
            None if optimizer_arrays is None else b"".join(optimizer_arrays), bool(kept),
        )  # fmt: skip
        self._states += 1
        return self._states - 1

    def step(
        self, *, step: int, epoch: int, batch_index: int, batch: BatchRef, metrics_before: bytes | None,
        metrics_after: bytes | None, generator: Digest | None, seconds: float,
    ) -> None:  # fmt: skip
        """Keeps one train step, which computed at version `step` and made the next one. Where both are given,
        `metrics_before` and `metrics_after` are of one length."""
        self._store.ready()
        self._check_rows(batch.row_ids)
        signature, *about = self._checked(batch, self._layouts)
        took = Took(signature, batch.row_ids.astype(_SHORT), *about)
        _digest(took.sample_weight)
        if len(took.whole) % 16:
            raise ValueError("what should be a digest is not one")
        numbers = (_number(step), _number(epoch), _number(batch_index))
        self._open_steps.add(*numbers, took, metrics_before, metrics_after, _digest(generator), float(seconds))

    def steps(
        self, *, step: int, epoch: int, batch_index: int, count: int, signature: int,
        row_ids: npt.NDArray[np.int64], rows: int, sample_weights: Sequence[Digest], layout: Layout,
        metrics_before: bytes | None, metrics_after: bytes | None, generator: Digest | None, seconds: float,
    ) -> None:  # fmt: skip
        """Keeps so many train steps that followed each other, from `step` on. Each took `rows` of the rows, one after
        the other, the last what is left. `metrics_before` and `generator` are those of the first, `metrics_after` those
        of the last; `seconds` is what each of them took."""
        self._check_rows(row_ids)
        ids = row_ids.astype(_SHORT)
        took = Took(int(signature), ids, None, b"", None, self._layouts.text(layout))
        numbers = (_number(step), _number(epoch), _number(batch_index))
        _number(step + count)
        self._open_steps.add_many(
            *numbers, count, took, int(rows), sample_weights, metrics_before, metrics_after, generator, float(seconds)
        )

    def batches(self, batches: Sequence[BatchRef]) -> Digest:
        """Keeps a list of batches and returns its digest; the same list is stored once."""
        encoded = b"".join(encode_values(self._batch(batch)) for batch in batches)
        digest = xxhash.xxh3_128_digest(encoded)
        if digest not in self._batch_lists:
            self._insert(fmt.BATCH_LISTS, digest, encoded)
            self._batch_lists.add(digest)
        return digest

    def evaluation(
        self, *, epoch: int, after_step: int, state: int, batches: Digest | None, logs: Mapping[str, Json]
    ) -> int:
        """Keeps one validation pass and returns its number."""
        self._insert(fmt.EVALUATIONS, int(epoch), int(after_step), self._known_state(state), batches, _json(logs))
        self._evaluations += 1
        return self._evaluations - 1

    def epoch(
        self, *, epoch: int, first_version: int, last_version: int, logs: Mapping[str, Json], state: int,
        learning_rate: float | None, seconds: float,
    ) -> None:  # fmt: skip
        """Keeps one finished epoch."""
        self._insert(
            fmt.EPOCHS, int(epoch), int(first_version), int(last_version), _json(logs), self._known_state(state),
            _json(learning_rate), _real(seconds),
        )  # fmt: skip

    # -- contents ------------------------------------------------------------------------------------------------

    def array(self, array: NDArray, digest: Digest | None = None) -> Digest:
        """Stores an array's content, once, and returns its digest (`array_digest`, taken here if not given)."""
        if digest is None:
            digest = array_digest(array)
        if not self.has_array(digest):
            self._store.insert_array(digest, dtype_name(array.dtype), _shape(array.shape), array_bytes(array))
            self._arrays[digest] = None
            if len(self._arrays) > fmt.MOST_KNOWN_ARRAYS:
                del self._arrays[next(iter(self._arrays))]
        return digest

    def has_array(self, digest: Digest) -> bool:
        """Whether `array` stored content under this digest, as far as is known: of very many, the ones used last."""
        if digest not in self._arrays:
            return False
        self._arrays[digest] = self._arrays.pop(digest)
        return True

    # -- transactions --------------------------------------------------------------------------------------------

    def commit(self, *, sync: bool = False) -> None:
        """Ends the transaction: what was written before survives the process. With `sync` it is also on disk on
        return."""
        self._flush()
        self._store.commit(sync=sync)

    def take_back(self, reason: str) -> None:
        """Takes back all since the last commit: for a writer that died in the middle of a record."""
        self._store.take_back(reason)
        self._flush()

    def seal(self, status: str) -> None:
        """Marks the recording as finished: "complete", "failed" or "interrupted". Commits, syncs, removes the journal,
        closes."""
        if status not in fmt.STATUSES:
            raise ValueError(f"a trace is sealed as one of {', '.join(fmt.STATUSES)}, not {status!r}")
        self._flush()
        self._store.seal(status)

    def close(self) -> None:
        """Commits what is left and closes the file. Without a seal it stays readable, as an interrupted recording."""
        try:
            self._flush()
        finally:
            self._store.close()

    def _flush(self) -> None:
        """Hands on the blocks that are open. What was to be taken back is forgotten."""
        for block in (self._open_states, self._open_steps):
            if self._store.failed:
                block.drop()
            else:
                block.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch(self, batch: BatchRef) -> tuple[Value, ...]:
        self._check_rows(batch.row_ids)
        signature, *about = self._checked(batch, _Layouts())
        return signature, batch.row_ids.astype("<i8", copy=False).tobytes(), *about

    def _check_rows(self, ids: npt.NDArray[np.int64]) -> None:
        if ids.ndim != 1 or (ids.size and (ids.min() < -1 or ids.max() >= self._rows)):
            raise ValueError("a batch names rows that were not added")

    def _checked(self, batch: BatchRef, layouts: _Layouts) -> tuple[Any, ...]:
        """The columns of a batch but for its rows."""
        if batch.signature is not None and not 0 <= batch.signature < len(self._signatures):
            raise ValueError("a batch names a signature that was not added")
        missing = None if batch.missing is None else _text(batch.missing)
        whole = b"".join(batch.whole)
        return _int(batch.signature), batch.sample_weight, whole, missing, layouts.text(batch.layout)

    def _known_state(self, state: int) -> int:
        if not 0 <= state < self._states:
            raise ValueError(f"there is no state {state}")
        return int(state)


class _Layouts:
    """The texts of layouts, most of which are one and the same object."""

    def __init__(self) -> None:
        self._last: tuple[Layout | None, str | None] = (None, None)

    def text(self, layout: Layout) -> str | None:
        if layout is not self._last[0]:
            self._last = layout, None if layout == Layout() else _json(msgspec.to_builtins(layout))
        return self._last[1]


_SHORT = np.dtype("<i4")


@functools.lru_cache(maxsize=4096)
def _shape(shape: tuple[int, ...]) -> str:
    return _json(list(shape))


def _number(value: int | None) -> Any:
    """A number that a block may begin with. Raises ValueError."""
    if value is not None and not 0 <= value < fmt.MOST_STEPS:
        raise ValueError(f"{value} is no number of a step, a version or an epoch")
    return None if value is None else int(value)


def _digest(value: Any) -> Any:
    if value is not None and (type(value) is not bytes or len(value) != 16):
        raise ValueError("what should be a digest is not one")
    return value


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _real(value: float) -> float | str:
    # SQLite stores NaN as NULL and -0.0 as 0.0, so neither reaches it.
    number = float(value) + 0.0
    return "nan" if number != number else number


def _text(value: str) -> str:
    return str(value)[: fmt.MAX_TEXT_CHARS // 8].encode("utf-8", "backslashreplace").decode()


def _json(value: Json) -> str:
    text = to_json(value)
    return text if len(text) <= fmt.MAX_JSON_BYTES else to_json(f"<left out: {len(text)} characters>")
