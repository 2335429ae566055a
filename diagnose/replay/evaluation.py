"""The data evaluation goes over: the rows fit used, or what the user gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from diagnose.errors import DiagnoseError, ReplayError
from diagnose.replay.engine import EngineFactory
from diagnose.replay.runs import FIRST_EPOCH, EvaluationData, joined
from diagnose.result.texts import Text
from diagnose.tracefile.digest import row_digests
from diagnose.tracefile.model import Batch, BatchRef, Json, Layout, NDArray
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread
from diagnose.tracefile.rows import as_recorded_leaves, in_columns, leaves_of, pack_rows

ROWS_FIT_USED = Text(
    "data.rows-fit-used",
    "rows fit used{recorded:given( in the epochs whose steps are recorded)}"
    "{local:given( on {local} of {count} replicas)}{ordered:given(, in the order fit was given them)}",
)
GIVEN = Text("data.given", "given")


def rows_fit_used(trace: Trace) -> EvaluationData:
    """All rows fit trained on, in batches of fit's size: in the order of the arrays that fit was given, as `evaluate`
    takes them, where the trace has it, else in order of first use.

    A row that occurs several times within an epoch (equal rows in the data have one id) is there as often.

    Raises:
        ReplayError: rows are not in the trace.
    """
    refs = [step.batch for step in trace.steps]
    if not refs:
        raise ReplayError("no step was recorded")
    for ref in refs:
        if ref.missing is not None:
            raise ReplayError(f"training rows were not recorded: {ref.missing}")
    if any(ref.whole for ref in refs):
        return _first_epoch(trace)
    signature = Counter(ref.signature for ref in refs).most_common(1)[0][0]
    size = Counter(len(ref.row_ids) for ref in refs).most_common(1)[0][0]
    rows, ordered = _as_given(trace, signature, _once_an_epoch(trace, signature))
    layout = Layout(bare=any(ref.layout.bare for ref in refs))
    parts = [rows[start : start + size] for start in range(0, len(rows), max(size, 1))]
    batches = [trace.batch(BatchRef(signature, part, layout=layout)) for part in parts]
    spread = Spread.of(trace)
    local = None if spread is None or spread.partial is None else spread.local
    count = None if spread is None else spread.count
    source = ROWS_FIT_USED(recorded=bool(trace.unrecorded), local=local, count=count, ordered=ordered)
    return EvaluationData(source, tuple(batches), size)


def _first_epoch(trace: Trace) -> EvaluationData:
    """The batches of the first epoch: what cannot be told apart by row is evaluated as fit first saw it."""
    batches = [trace.batch(step.batch) for step in trace.index.steps_of(trace.steps[0].epoch)]
    plain = tuple(Batch(b.x, b.y, None, b.rows, b.size, bare=b.bare) for b in batches)
    return EvaluationData(FIRST_EPOCH(), plain, plain[0].size)


def _once_an_epoch(trace: Trace, signature: int | None) -> NDArray:
    """Row ids, each as often as in the epoch that used it most."""
    emitted: Counter[int] = Counter()
    rows: list[int] = []
    for epoch in dict.fromkeys(step.epoch for step in trace.steps):
        seen: Counter[int] = Counter()
        for step in trace.index.steps_of(epoch):
            if step.batch.signature == signature:
                for row in step.batch.row_ids.tolist():
                    seen[row] += 1
                    if seen[row] > emitted[row]:
                        emitted[row] += 1
                        rows.append(row)
    return np.array(rows, np.int64)


def _as_given(trace: Trace, signature: int | None, rows: NDArray) -> tuple[NDArray, bool]:
    """The rows in the order in which fit was given them, and whether the trace has that of all of them: else those it
    has come first."""
    given = [ref.row_ids for ref in trace.given_order() if ref.signature == signature]
    left = Counter(rows.tolist())
    found: list[int] = []
    for source in (*given, rows):
        if source is rows and not left:
            return np.array(found, np.int64), True
        for row in source.tolist():
            if row in left:
                found.append(row)
                left[row] -= 1
                if not left[row]:
                    del left[row]
    return np.array(found, np.int64), False


def given(trace: Trace, data: Any, factory: EngineFactory) -> EvaluationData:
    """Evaluation data from the user: (x, y), (x, y, sample_weight), or an iterable of such batches.

    Raises:
        DiagnoseError: the data is of another form.
    """
    parts = as_parts(data, factory)
    known = _known_rows(trace)
    batches = []
    unknown = -1
    for part in parts:
        x, y, weight = (*part, None, None)[:3]
        x, y = factory.arrays(x), factory.arrays(y)
        ids, unknown = _identify(trace, known, x, y, unknown)
        columns, tree = as_columns(weight)
        bare = y is None and not isinstance(x, (tuple, list))  # as Keras hands on arrays
        batches.append(Batch(x, y, columns, ids, len(ids), tree, bare=bare))
    if not batches:
        raise DiagnoseError("evaluate= holds no batch.")
    return EvaluationData(GIVEN(), tuple(batches), batches[0].size)


ONE_BATCH_BYTES = 64 << 20


def in_one_batch(data: EvaluationData) -> Batch | None:
    """All rows as one batch; None where they are too many, or of a form that is not joined."""
    batches = data.batches
    leaves = [leaf for b in batches for leaf in (*leaves_of(b.x), *leaves_of(b.y))]
    if data.composite or sum(leaf.nbytes for leaf in leaves) > ONE_BATCH_BYTES:
        return None
    return joined(batches)


def as_columns(weight: Any) -> tuple[NDArray | None, Json]:
    """Sample weights as one array; those of several outputs as its columns, with their tree."""
    if not isinstance(weight, dict) and not _is_tree(weight):
        return None if weight is None else np.asarray(weight), None
    named = weight if isinstance(weight, dict) else dict(enumerate(weight))
    dtype = np.result_type(*(np.asarray(w) for w in named.values()))
    columns, nodes = in_columns([np.asarray(w, dtype) for w in named.values()])
    if isinstance(weight, dict):
        tree: Json = {"dict": dict(zip(map(str, named), nodes, strict=True))}
    else:
        tree = {"list" if isinstance(weight, list) else "tuple": nodes}
    return columns, tree


def as_parts(data: Any, factory: EngineFactory) -> Iterator[tuple[Any, ...]]:
    """The data as (x, y) or (x, y, sample_weight), batch by batch. Raises DiagnoseError for another form."""
    if isinstance(data, (tuple, list)) and len(data) in (2, 3) and not _is_batches(data):
        return _split(*data, factory=factory)
    if isinstance(data, Iterable) and not isinstance(data, (tuple, np.ndarray, str, dict)):
        return (tuple(batch) for batch in data)
    raise DiagnoseError("Data is given as (x, y), (x, y, sample_weight), or an iterable of such batches.")


def _is_batches(data: Sequence[Any]) -> bool:
    return (
        all(isinstance(part, (tuple, list)) and len(part) in (2, 3) for part in data)
        and hasattr(data[0][0], "shape")
        and isinstance(data, list)
    )


def _split(x: Any, y: Any, weight: Any = None, *, factory: EngineFactory) -> Iterator[tuple[Any, Any, Any]]:
    x, y, size = factory.arrays(x), factory.arrays(y), factory.batch_size
    if weight is not None and not isinstance(weight, dict) and not _is_tree(weight):
        weight = np.asarray(weight)
    rows = len(leaves_of(x)[0])
    for start in range(0, rows, size):
        part = slice(start, start + size)
        yield _take(x, part), _take(y, part), _take(weight, part)


def _is_tree(value: Any) -> bool:
    """A list or tuple of arrays, not of numbers."""
    return isinstance(value, (list, tuple)) and bool(value) and hasattr(value[0], "shape") and np.ndim(value[0]) > 0


def _take(tree: Any, part: slice) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: _take(v, part) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_take(v, part) for v in tree)
    return tree[part]


def _known_rows(trace: Trace) -> dict[bytes, int]:
    """Row ids of the training rows by digest, of the signature fit used."""
    ids = {int(row) for step in trace.steps for row in step.batch.row_ids if row >= 0}
    return {trace.row_digest(row): row for row in ids}


def _identify(trace: Trace, known: dict[bytes, int], x: Any, y: Any, unknown: int) -> tuple[NDArray, int]:
    """Ids of the rows fit saw; the others get negative ids, counted down, as no two of them need be the same."""
    signature = next((s.batch.signature for s in trace.steps if s.batch.signature is not None), None)
    leaves = [*leaves_of(x), *leaves_of(y)]
    keys: list[bytes] = []
    if signature is not None:
        fitted = as_recorded_leaves(leaves, trace.signatures[signature].leaves)
        if fitted is not None:
            keys = row_digests(pack_rows(fitted))
    rows = len(leaves[0])
    ids = np.empty(rows, np.int64)
    for i in range(rows):
        row = known.get(keys[i]) if keys else None
        if row is None:
            row, unknown = unknown, unknown - 1
        ids[i] = row
    return ids, unknown
