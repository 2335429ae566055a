"""Reads a trace file, without Keras and without changing it. A trace is untrusted input."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from diagnose.errors import ReplayError, TraceError, TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.about import Header, Source
from diagnose.tracefile.bounds import unbounded
from diagnose.tracefile.chain import diagnosis_digest
from diagnose.tracefile.checks import check_records, check_work
from diagnose.tracefile.content import DIGESTS_ONLY, Contents
from diagnose.tracefile.damage import damage, no_odd_error
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.events import TrainEnd
from diagnose.tracefile.journal import journal_path, names_other_files
from diagnose.tracefile.jsontext import from_json, json_cost, to_json
from diagnose.tracefile.load import load_diagnosis, load_records
from diagnose.tracefile.model import (
    Batch,
    BatchRef,
    D,
    Digest,
    Epoch,
    Evaluation,
    Event,
    Json,
    NDArray,
    Signature,
    State,
    Step,
)
from diagnose.tracefile.recover import Opened, discard, format_version, nothing_yet, open_file, owning
from diagnose.tracefile.remote import is_url, read_fetched
from diagnose.tracefile.rows import build, pack_rows, rows_in, unpack_rows
from diagnose.tracefile.sources import source_of
from diagnose.tracefile.steps import Index, unrecorded

if TYPE_CHECKING:
    from diagnose.identify.identification import Identification

CACHE_BYTES: Final = 256 * 2**20
STORE_BUSY_SECONDS = 2.0
"""How long `store_diagnosis` waits for others that read or write the file."""


class Trace:
    """One trace, open. Everything but arrays and rows was read and verified when it was opened; those are when they
    are asked for.

    Close it, or use it in a `with` statement. Methods that load contents raise ReplayError, with the reason, for what
    was not
    kept, and TraceError for what does not match its digest.
    """

    path: Path
    header: Header
    info: Mapping[str, Json]
    """The rows of the header as they are in the file: what is looked at stands in `header`."""
    sealed: bool
    """False: the recording was interrupted (killed), or is still running."""
    status: str
    """"complete", "failed" or "interrupted"; without a seal "interrupted"."""
    states: tuple[State, ...]
    """`states[i].state == i`."""
    steps: tuple[Step, ...]
    """Of the epochs that are recorded whole, and of one that did not end."""
    unrecorded: frozenset[int]
    """Finished epochs (1-based) whose steps are not recorded: the trace had no room for them."""
    epochs: tuple[Epoch, ...]
    evaluations: tuple[Evaluation, ...]
    events: tuple[Event[Any], ...]
    signatures: tuple[Signature, ...]
    index: Index
    format: int
    """The version of the format it is in."""
    nbytes: int
    """Size of the file."""
    digest: Digest
    """Of all records, as of opening: tells a recording from every other."""

    def __init__(self, path: Path, opened: Opened, cache_bytes: int) -> None:
        self.format = format_version(opened.db)
        records = load_records(opened.db, opened.nbytes, self.format)
        load_diagnosis(opened.db, opened.nbytes)
        self.digest = last_digest(opened.db)
        check_records(records)
        check_work(records, opened.nbytes)
        opened.db.execute("COMMIT")
        unbounded(opened.db)
        if records.empty:
            raise nothing_yet(path)
        self.path = path
        self.header = records.header
        self._sources: dict[str, Source] = {}
        self.info = MappingProxyType(dict(records.info))
        self.sealed = records.status is not None
        self.status = records.status or "interrupted"
        self.states = records.states
        self.unrecorded = unrecorded(records.epochs, records.steps)
        self.steps = tuple(step for step in records.steps if step.epoch not in self.unrecorded)
        self.epochs = records.epochs
        self.evaluations = records.evaluations
        self.events = records.events
        self.signatures = records.signatures
        self.nbytes = opened.nbytes
        self._made_again: tuple[State, ...] = ()
        self._arrays_made_again: dict[Digest, NDArray] = {}
        self.index = self._indexed()
        self._batch_lists = records.batch_lists
        self._versions: dict[int, State] = {}
        for state in records.states:
            if state.version is not None and state.label != "changed":
                known = self._versions.setdefault(state.version, state)
                # The end of an epoch stands for a version that was not kept only where no callback changed it.
                if not known.kept and state.kept and state.arrays == known.arrays:
                    self._versions[state.version] = state
        self._db = opened.db
        self._contents = Contents(opened.db, records, cache_bytes)
        self._finalizer = weakref.finalize(self, discard, opened.db, opened.folder)

    @property
    def updates(self) -> int:
        """How many updates the trace tells of; their steps need not all be recorded."""
        return max([s.produced for s in self.steps[-1:]] + [e.last_version for e in self.epochs[-1:]], default=0)

    @property
    def final(self) -> State | None:
        """The state after all callbacks ran their on_train_end; None where the fit did not get there."""
        end = next(iter(self.events_of(TrainEnd)), None)
        return None if end is None else self.states[end.detail.state]

    def events_of(self, kind: type[D]) -> list[Event[D]]:
        """The events whose detail is of this class, in order."""
        return [event for event in self.events if isinstance(event.detail, kind)]

    def source(self, name: str) -> Source:
        """By what a value of the logs was computed, as the trace says or, of format 1, as its name and the fit tell."""
        if name not in self._sources:
            self._sources[name] = self.header.sources.get(name) or source_of(name, self.header, self._validated)
        return self._sources[name]

    @cached_property
    def _validated(self) -> frozenset[str]:
        return frozenset(key for evaluation in self.evaluations for key in evaluation.logs)

    def version(self, version: int) -> State | None:
        """The state the first `version` updates made; None if it was not recorded."""
        return self._versions.get(version)

    def complete(self, steps: Sequence[Step], states: Sequence[State], arrays: Mapping[Digest, NDArray]) -> None:
        """Takes what was made again and proven: steps in the place of others, states, and arrays that these name."""
        made = {step.step: step for step in steps}
        self.steps = tuple(made.get(step.step, step) for step in self.steps)
        self._made_again = (*self._made_again, *states)
        self._arrays_made_again.update(arrays)
        self.index = self._indexed()

    def _indexed(self) -> Index:
        return Index(self.steps, (*self.states, *self._made_again), self.events, self.evaluations, self.unrecorded)

    def array(self, digest: Digest) -> NDArray:
        """A stored array, read-only."""
        if digest in self._arrays_made_again:
            return self._arrays_made_again[digest]
        with damage(self.path, sealed=self.sealed):
            try:
                return self._contents.array(digest)
            except KeyError:
                if any(state.kept and digest in state.arrays for state in self.states):
                    raise ValueError("an array of a kept state is missing") from None
        raise ReplayError(f"Array {digest.hex()} is not kept in {self.path}.")

    def arrays(self, state: State) -> list[NDArray]:
        """The model's variables in this state, read-only, in the order of `header.variables`."""
        if not state.kept:
            name = f"version {state.version}" if state.version is not None else f"the state {state.label!r}"
            raise ReplayError(f"The weights of {name} are not kept in {self.path}, only their digests.")
        return [self.array(digest) for digest in state.arrays]

    def batch(self, ref: BatchRef) -> Batch:
        """A batch with its contents."""
        if ref.missing is not None:
            raise ReplayError(f"The contents of this batch are not in the trace: {ref.missing}")
        if ref.signature is None:
            raise ReplayError("The contents of this batch are not in the trace.")
        with damage(self.path, sealed=self.sealed):
            signature = self.signatures[ref.signature]
            if len(ref.row_ids) * signature.row_nbytes > max(self.nbytes, fmt.MAX_BATCH_BYTES):
                raise ValueError("a batch is said to be larger than any batch may be")
            packed = self._contents.rows(ref.row_ids, ref.signature)
            try:
                by_row = iter(unpack_rows(packed, signature))
            except ImportError as error:
                raise ReplayError(f"The trace holds rows that NumPy cannot read alone; install {error.name}.") from None
            whole = iter([self._of_rows(digest) for digest in ref.whole])
            found = [next(whole if leaf.whole else by_row, None) for leaf in signature.leaves]
            leaves = [leaf for leaf in found if leaf is not None]
            if len(leaves) != len(found) or not isinstance(signature.structure, dict):
                raise ValueError("a batch does not have the parts its signature names")
            x, y = (build(signature.structure.get(name, {"none": True}), leaves) for name in ("x", "y"))
        weight = None if ref.sample_weight is None else self._of_rows(ref.sample_weight)
        layout = ref.layout
        tree = None if weight is None or weight.ndim != 2 else layout.weights
        size = len(ref.row_ids) if len(ref.row_ids) else rows_in(x)
        rows, seed = ref.row_ids, layout.global_seed
        return Batch(x, y, weight, rows, size, tree, layout.fixed, layout.shares, seed, layout.bare)

    def _of_rows(self, digest: Digest) -> NDArray:
        """An array that belongs to a batch: not kept where rows are not."""
        if self.header.withheld and not self._contents.lists(digest):
            raise ReplayError(DIGESTS_ONLY)
        return self.array(digest)

    def batches(self, digest: Digest) -> tuple[BatchRef, ...]:
        """A recorded list of batches."""
        if digest not in self._batch_lists:
            raise ReplayError(f"The list of batches {digest.hex()} is not in {self.path}.")
        return self._batch_lists[digest]

    def given_order(self) -> tuple[BatchRef, ...]:
        """The rows of the arrays that `fit` was given, in their order, as one batch for each signature; none where that
        was not noted."""
        digest = self.header.given.rows
        return () if digest is None else self._batch_lists.get(bytes.fromhex(digest), ())

    def supply(self, leaves: Sequence[NDArray], signature: int) -> int:
        """Takes rows from outside, row-wise leaves in a signature's order, for contents of rows that the file knows by
        digest only. Returns how many these are; rows that match no digest are passed over."""
        return self._contents.supply(pack_rows(leaves), signature)

    def lacks(self, digest: Digest) -> bool:
        """Whether the content of this digest is neither in the file nor supplied."""
        return not self._contents.lists(digest)

    def supply_array(self, array: NDArray, digest: Digest) -> bool:
        """Takes an array from outside for the content of a digest that the file does not list. Returns whether it
        is."""
        if array_digest(array) != digest:
            return False
        self._contents.supply_array(digest, array.copy())
        return True

    def row_digest(self, row: int) -> Digest:
        """The digest of a packed row."""
        try:
            return self._contents.row_digest(row)
        except ValueError:
            raise ReplayError(f"There is no row {row} in {self.path}.") from None

    def raw(self, table: fmt.Table) -> Iterator[tuple[Any, ...]]:
        """The rows of a table as they are in the file, in order."""
        with damage(self.path, sealed=self.sealed):
            # Not `yield from`: a generator left half way closes what it yields from, and a cursor whose connection is
            # closed by then raises.
            for row in self._db.execute(f"SELECT {', '.join(table.names)} FROM {table.name} ORDER BY {table.key}"):  # noqa: UP028
                yield row

    def diagnosis(self) -> Json | None:
        """The diagnosis last stored (as of opening, for an unsealed trace), or None."""
        with damage(self.path, sealed=self.sealed):
            return from_json(load_diagnosis(self._db, self.nbytes))

    def identify(self, model_or_file: Any) -> Identification:
        """Which recorded version these weights are: a Keras model's, or those in a `.weights.h5`, `.keras`,
        `.safetensors` or `.npz` file (a path), which is read as data only.

        Raises WeightsFileError for a file that is none of these or is damaged, DiagnoseError for weights of another
        architecture.
        """
        from diagnose.identify.identify import identify_model_or_file

        with no_odd_error(self.path):
            return identify_model_or_file(self, model_or_file)

    def close(self) -> None:
        """Closes the file and deletes the private copy, if there is one."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_trace(path: Path | str, *, cache_bytes: int = CACHE_BYTES) -> Trace:
    """Opens a trace, which may lie elsewhere (`s3://…`: see `remote`). Raises TraceError (one clear sentence) if it is
    missing, not a trace, newer, truncated or altered.

    The file is never changed. One without a seal is read from a private copy, which a journal beside it is rolled back
    into.
    `cache_bytes` bounds the arrays and rows kept in memory between calls.
    """
    if isinstance(path, str) and is_url(path):
        return read_fetched(path, lambda file, folder: _read(file, cache_bytes, folder))
    return _read(Path(path), cache_bytes)


def _read(path: Path, cache_bytes: int, fetched: Path | None = None) -> Trace:
    """`fetched`: the folder of a copy from elsewhere, which goes with the trace."""
    sealed = False
    opened = None
    try:
        with damage(path, sealed=False):
            opened = open_file(path)
            sealed = opened.folder is None
        with damage(path, sealed=sealed):
            return Trace(path, opened if fetched is None else owning(opened, fetched), cache_bytes)
    except BaseException:
        if opened is not None:
            discard(opened.db, opened.folder)
        raise


def last_digest(db: sqlite3.Connection) -> Digest:
    """The digest that the last commit of an open trace ended with."""
    row = db.execute("SELECT digest FROM chain ORDER BY seq DESC LIMIT 1").fetchone()
    return b"" if row is None else bytes(row[0])


def store_diagnosis(path: Path, diagnosis: Json, *, verified: Digest | None = None) -> None:
    """Puts the diagnosis last computed into a trace file, in place of an older one. A journal left by a killed
    recording is rolled back.

    Args:
        verified: the digest of the trace that the diagnosis is of, which was read just now: the file is not verified
            once more.

    Raises TraceError if the file is no readable trace, TraceWriteError if it cannot be written, is being written, or
    holds another recording.
    """
    path = Path(path)
    text = to_json(diagnosis)
    if len(text) > fmt.MAX_JSON_BYTES or json_cost(text) > fmt.FREE_BYTES + fmt.BYTES_PER_BYTE * len(text):
        raise TraceWriteError(f"The diagnosis has {len(text)} characters, more than a trace of this fit may hold.")
    if verified is None:
        with read_trace(path) as trace:
            verified = trace.digest
    if names_other_files(path):
        raise TraceError(f"{journal_path(path)} is not a journal of a trace: it names other files.")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    db = None
    try:
        uri = f"{path.resolve().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=STORE_BUSY_SECONDS)
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("BEGIN IMMEDIATE")
        if last_digest(db) != verified:
            raise TraceWriteError(f"{path} holds another recording by now, so this diagnosis is not stored in it.")
        db.execute(
            "UPDATE diagnosis SET created = ?, json = ?, digest = ? WHERE id = 1",
            (created, text, diagnosis_digest(created, text)),
        )
        db.execute("COMMIT")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise TraceWriteError(
                f"{path} is being written; its diagnosis can be stored when the recording has ended."
            ) from error
        raise TraceWriteError(f"The diagnosis cannot be stored in {path}: {error}.") from error
    finally:
        if db is not None:
            db.close()
