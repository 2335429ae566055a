"""Which weights are training's own and which the optimizer's moving average of them (`use_ema`), told by content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diagnose.errors import ReplayError
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import Digest, Epoch, NDArray, State
from diagnose.tracefile.reader import Trace

Kind = Literal["raw", "average"]

ROUNDING = 16
"""Steps of float rounding within which two arrays are taken for the same weights: on TensorFlow, `SwapEMAWeights`
(Keras 3.15.1) exchanges two variables by adding and subtracting them, which leaves a few."""


@dataclass(frozen=True, slots=True)
class Content:
    """What weights are: `kinds` is both for an average that equals the weights it averages. `epoch`: at whose end."""

    kinds: frozenset[Kind]
    epoch: int | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """Digests of the averaged variables at the end of an epoch: as the last update made them, and their average (None:
    not known)."""

    raw: tuple[Digest, ...]
    average: tuple[Digest, ...] | None


class Averages:
    """The averages an optimizer kept during one fit."""

    def __init__(self, trace: Trace, places: Mapping[int, int]) -> None:
        self._trace = trace
        self._model = list(places)
        self._slots = list(places.values())
        self._pairs: dict[int, _Pair | None] = {}

    @classmethod
    def of(cls, trace: Trace) -> Averages | None:
        """None where the optimizer kept none, or the trace does not say which of its variables are averages."""
        listed = trace.header.optimizer_variables
        places = {v.of: i for i, v in enumerate(listed) if v.role == "average" and v.of is not None}
        return cls(trace, places) if places else None

    def content(self, state: State, epochs: Iterable[int]) -> Content | None:
        """What a state's weights are, by digest over the whole fit, else up to rounding at the end of one of `epochs`.
        None: neither."""
        held = self._of(state.arrays)
        for epoch in self._trace.epochs:
            pair = self._pair(epoch)
            if pair is not None:
                kinds: set[Kind] = {"raw"} if held == pair.raw else set()
                if held == pair.average:
                    kinds.add("average")
                if kinds:
                    return Content(frozenset(kinds), epoch.epoch)
        if self._trace.index.versions_of(state):
            return Content(frozenset({"raw"}), None)
        wanted = set(epochs)
        for epoch in self._trace.epochs:
            if epoch.epoch in wanted and (found := self._near(held, epoch)):
                return Content(found, epoch.epoch)
        return None

    def _of(self, arrays: Sequence[Digest]) -> tuple[Digest, ...]:
        return tuple(arrays[i] for i in self._model)

    def _pair(self, epoch: Epoch) -> _Pair | None:
        if epoch.epoch not in self._pairs:
            self._pairs[epoch.epoch] = self._find_pair(epoch)
        return self._pairs[epoch.epoch]

    def _find_pair(self, epoch: Epoch) -> _Pair | None:
        made = self._trace.index.made(epoch.last_version)
        end = self._trace.states[epoch.state]
        if made is None or end.optimizer_arrays is None or len(end.optimizer_arrays) <= max(self._slots):
            return None
        raw, model = self._of(made.arrays), self._of(end.arrays)
        slots = tuple(end.optimizer_arrays[i] for i in self._slots)
        if raw == model:
            return _Pair(raw, slots)
        if slots in (raw, model):
            # Exchanged, as `SwapEMAWeights(swap_on_epoch=True)` leaves it; in the last epoch it makes both the average.
            return _Pair(raw, model)
        if self._close(model, raw, slots):
            return _Pair(raw, slots)
        return _Pair(raw, model if self._close(slots, raw, model) else None)

    def _near(self, held: tuple[Digest, ...], epoch: Epoch) -> frozenset[Kind]:
        pair = self._pair(epoch)
        if pair is None or pair.average is None:
            return frozenset()
        found: set[Kind] = {"raw"} if self._close(held, pair.raw, pair.average) else set()
        if self._close(held, pair.average, pair.raw):
            found.add("average")
        return frozenset(found)

    def _close(self, one: tuple[Digest, ...], other: tuple[Digest, ...], beside: tuple[Digest, ...]) -> bool:
        """Whether two sets of arrays are the same up to the rounding that exchanging `other` and `beside` leaves."""
        try:
            arrays = [[self._trace.array(digest) for digest in group] for group in (one, other, beside)]
        except ReplayError:
            return False
        return all(_same(a, b, c) for a, b, c in zip(*arrays, strict=True))


def _same(a: NDArray, b: NDArray, beside: NDArray) -> bool:
    if a.dtype.kind != "f" or a.shape != b.shape or b.shape != beside.shape:
        return bool(a.dtype == b.dtype and np.array_equal(a, b))
    size = np.abs(b).astype(np.float64) + np.abs(beside)
    return bool(np.all(np.abs(a.astype(np.float64) - b) <= ROUNDING * np.finfo(a.dtype).eps * size))


def set_at_end(trace: Trace) -> State | None:
    """The state after Keras put the average into the model, at the end of training and before any `on_train_end`."""
    for event in trace.events_of(WeightsChanged):
        if event.detail.hook == "on_train_end":
            return None if event.detail.callback is not None else trace.states[event.detail.after]
    return None
