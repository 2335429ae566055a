"""The rows of a script's own `evaluate` or `predict` over a pipeline, a generator or a `PyDataset`: noted as Keras draws
them. Nothing is drawn that Keras does not ask for, and what is drawn is passed on as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import keras
import numpy as np

from diagnose.frameworks.keras.fits import draw_through, iterator_of_caller
from diagnose.record import call_items
from diagnose.record.backends import Source, current_backend
from diagnose.record.batches import NotCaptured, TakenBatch
from diagnose.record.call_items import CallRows, Calls, row_by_row
from diagnose.record.handlers import let_through
from diagnose.record.taking import Taker
from diagnose.tracefile.digest import group_digest
from diagnose.tracefile.model import Digest, NDArray

FREE_SECONDS: Final = 0.5
SHARE: Final = 0.1
"""What noting the batches of one call may take: so many seconds, and beyond them this share of its own time."""

NOT_SEEN: Final = "its batches could not be noted"


class CallBatches(keras.callbacks.Callback):  # type: ignore[misc]
    """Stands behind the callbacks of one call. It has no hook that Keras would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._source: Source | None = None
        self._rows = _Rows()
        self._taker = Taker(current_backend())
        self._why: str | None = None
        self._began = time.perf_counter()
        self._seconds = 0.0

    def set_model(self, model: Any) -> None:
        """Keeps no model: on JAX, `Callback.model` forces a state sync."""

    def on_test_begin(self, logs: Any = None) -> None:
        self._quietly(lambda: self._begin("evaluate"))

    def on_predict_begin(self, logs: Any = None) -> None:
        self._quietly(lambda: self._begin("predict"))

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._quietly(self._look)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._quietly(self._look)

    def found(self, calls: Calls) -> tuple[CallRows, tuple[int, ...]]:
        """The rows, in the order they were drawn, and the sizes of their batches. Raises NotCaptured."""
        self._quietly(self._look)
        if self._why is not None or self._source is None:
            raise NotCaptured(self._why or NOT_SEEN)
        return self._rows.kept(calls), tuple(self._rows.sizes)

    def _begin(self, function: str) -> None:
        iterator = iterator_of_caller(function)
        if iterator is None:
            raise NotCaptured(NOT_SEEN)
        backend = current_backend()
        self._source = backend.tap(iterator, self._wanted) if backend.name == "tensorflow" else _Passing.on(iterator)

    def _wanted(self) -> bool:
        return self._why is None

    def _look(self) -> None:
        if self._source is None or self._why is not None:
            return
        began = time.perf_counter()
        for data in self._source.take():
            self._rows.add(self._taker.take(data))
        now = time.perf_counter()
        self._seconds += now - began
        if self._seconds > FREE_SECONDS + SHARE * (now - self._began):
            raise NotCaptured("noting them took too long")

    def _quietly(self, do: Callable[[], None]) -> None:
        """An error of ours ends the noting, never the call."""
        try:
            do()
        except NotCaptured as reason:
            self._why = str(reason)
        except Exception as error:
            let_through(error)
            self._why = f"{NOT_SEEN} ({type(error).__name__}: {error})"


class _Rows:
    """Batches, joined; their contents while there is room, their digests in any case."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._first: TakenBatch | None = None
        self._digests: tuple[list[Digest], ...] = ([], [], [])
        self._batches: list[TakenBatch] | None = []
        self._nbytes = 0

    def add(self, taken: TakenBatch | str) -> None:
        if isinstance(taken, str):
            raise NotCaptured(taken)
        first = self._first = self._first or taken
        if taken.whole:
            raise NotCaptured("its batches cannot be taken apart into rows")
        if taken.signature != first.signature:
            raise NotCaptured("its batches have rows of different shapes")
        if sum(self.sizes) + taken.rows > call_items.MOST_ROWS:
            raise NotCaptured("its rows are too many")
        self.sizes.append(taken.rows)
        for every, own in zip(self._digests, row_by_row(taken), strict=True):
            every.extend(own or ())
        self._nbytes += sum(leaf.nbytes for leaf in taken.leaves)
        if self._nbytes > call_items.MOST_BYTES:
            self._batches = None
        if self._batches is not None:
            self._batches.append(taken)

    def kept(self, calls: Calls) -> CallRows:
        first = self._first
        if first is None:
            raise NotCaptured("it drew no batch")
        both, x, y = self._digests
        leaves: tuple[Digest, ...] = (group_digest(both),)
        weight = None
        if self._batches is not None:
            leaves = calls.keep(_joined([b.leaves for b in self._batches]))
            weights = [b.sample_weight for b in self._batches if b.sample_weight is not None]
            if weights and len(weights) < len(self._batches):
                raise NotCaptured("some of its batches have sample weights, and others none")
            weight = calls.keep([np.concatenate(weights)])[0] if weights else None
        elif first.sample_weight is not None:
            raise NotCaptured("its rows are too many")
        own = (tuple(both), tuple(x), tuple(y) or None)
        return CallRows(first.signature, len(both), leaves, *own, weight, first.weight_tree)


def _joined(batches: Sequence[Sequence[NDArray]]) -> list[NDArray]:
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


class _Passing(Source):
    """Where batches come out of a Python iterator: each is noted on its way."""

    def __init__(self) -> None:
        self._drawn: list[Any] = []

    @classmethod
    def on(cls, epoch_iterator: Any) -> _Passing:
        source = cls()
        draw_through(epoch_iterator, source.through)
        return source

    def through(self, batches: Iterable[Any]) -> _Noted:
        return _Noted(batches, self._drawn.append)

    def clear(self) -> None:
        self._drawn.clear()

    def take(self) -> list[Any]:
        drawn, self._drawn[:] = list(self._drawn), []
        return drawn


class _Noted:
    """An iterable that tells of what is drawn from it. It begins when the one below would: that may draw a number."""

    def __init__(self, batches: Iterable[Any], note: Callable[[Any], None]) -> None:
        self._batches, self._note = batches, note

    def __iter__(self) -> _NotedIterator:
        return _NotedIterator(iter(self._batches), self._note)


class _NotedIterator:
    def __init__(self, iterator: Iterator[Any], note: Callable[[Any], None]) -> None:
        self._iterator, self._note = iterator, note

    def __iter__(self) -> _NotedIterator:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        self._note(batch)
        return batch
