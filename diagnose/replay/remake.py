"""Makes weights again that were not kept: trains an epoch once more, from its recorded start over its recorded batches.

Every version is held against its recorded digest. Where one differs, because some operation adds in no fixed order,
the contents recorded at the end of the epoch decide: versions that lead to these up to rounding are taken, and said to
be such; otherwise none is. The versions of one epoch lie in a
temporary file, so that replay can go over them as often as it needs.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.replay.engine import Engine, metric_values
from diagnose.replay.executions import NOT_THE_SAME, Trained, seen_through
from diagnose.replay.recorded import Recorded
from diagnose.result.problems import users_code
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, NDArray, State, Step
from diagnose.tracefile.reader import Trace

ROUNDING = 1e-5
"""How far weights made again may be from those recorded at the end of the epoch, of the largest in the variable."""

MOST_BYTES = 8 << 30
"""Weights of one epoch made again at most; they must also fit into half of the free disk."""


class Remaker:
    """Weights made again, by the digests of their arrays."""

    def __init__(self, trace: Trace, engine: Engine, recorded: Recorded) -> None:
        self._trace = trace
        self._engine = engine
        self._recorded = recorded
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._epoch: int | None = None
        self._made: dict[tuple[Digest, ...], list[NDArray]] = {}
        self.versions: set[int] = set()
        """The versions made again so far, each equal to the recorded one by digest, or in `nearly`."""
        self.nearly: set[int] = set()
        """Those that differ by rounding."""
        self.off = 0.0
        """By how much their epochs' ends differ at most, of the largest number in a variable."""
        self.epochs: set[int] = set()
        """The epochs (1-based) made again so far, each proven to end as recorded, bit for bit."""
        self._metrics: tuple[int, list[list[NDArray]]] | None = None
        self._rounded: set[int] = set()
        self._failed: dict[int, str] = {}
        self._unseen: dict[int, ReplayError] = {}

    def arrays(self, state: State) -> list[NDArray]:
        """The contents of a state inside an epoch.

        Raises:
            ReplayError: it cannot be made again, with the reason.
        """
        if state.arrays not in self._made:
            self._make(self._epoch_of(state))
        if state.arrays not in self._made:
            raise ReplayError(f"the weights of version {state.version} were not kept and could not be made again")
        return self._made[state.arrays]

    def steps(self, epoch: int) -> list[Step]:
        """The steps of a (1-based) epoch, in order. What was not seen of them is made again first.

        Raises:
            ReplayError: that cannot be done, with the reason.
        """
        if not self._trace.index.seen_through(epoch):
            if epoch not in self._unseen:
                try:
                    with users_code("training the epoch once more"):
                        self._see_through(epoch, self._trace.index.steps_of(epoch))
                except ReplayError as error:
                    self._unseen[epoch] = error
            if epoch in self._unseen:
                raise self._unseen[epoch]
        return self._trace.index.steps_of(epoch)

    def metrics(self, epoch: int) -> list[list[NDArray]] | None:
        """The metric state after each step of a (1-based) epoch, as the train step itself left it when it was run
        again; None where it was not, or not to the recorded weights bit for bit.

        Raises:
            ReplayError: it cannot be made again, with the reason.
        """
        before = [self._recorded.before(step) for step in self.steps(epoch)]
        missing = next((state for state in before if self._trace.index.kept(state) is None), None)
        if missing is not None:
            self.arrays(missing)
        if epoch in self.epochs and self._metrics is not None and self._metrics[0] == epoch:
            return self._metrics[1]
        return None

    def why_not(self, epoch: int) -> str | None:
        """Why a (1-based) epoch could not be made again, where that was tried."""
        if epoch in self._rounded:
            return "made again by training, the others differ in the last digits"
        unseen = self._unseen.get(epoch)
        return self._failed.get(epoch) if unseen is None else str(unseen)

    def _see_through(self, epoch: int, steps: Sequence[Step]) -> None:
        metrics: list[list[NDArray]] = []
        self._metrics = epoch, metrics

        def trained() -> Iterator[Trained]:
            for each in self.trained_again(epoch, steps):
                metrics.append(each.metrics)
                yield each

        again, made = trained(), {}
        try:
            store = self._store(steps)
        except ReplayError:  # too much to keep; what happened can be seen all the same
            self.versions |= seen_through(self._trace, epoch, again)
            self.epochs.add(epoch)
            return

        def kept() -> Iterator[Trained]:
            for place, each in enumerate(again):
                made[each.digests] = store.put(place, each.arrays)
                yield each

        self.versions |= seen_through(self._trace, epoch, kept())
        self._made, self._epoch = made, epoch
        self.epochs.add(epoch)

    def _epoch_of(self, state: State) -> int:
        for epoch in self._trace.epochs:
            if state.version is not None and epoch.first_version < state.version <= epoch.last_version:
                return epoch.epoch
        for step in self._trace.steps:  # of an epoch that did not end
            if step.produced == state.version:
                return step.epoch
        raise ReplayError(f"the weights of version {state.version} were not kept, nor was the step that made them")

    def _make(self, epoch: int) -> None:
        if epoch in self._failed:
            raise ReplayError(self._failed[epoch])
        if self._epoch == epoch:
            return
        try:
            with users_code("training the epoch once more"):
                self._train(epoch)
        except ReplayError as error:
            self._failed[epoch] = str(error)
            self._made = {}
            raise
        self._epoch = epoch

    def _train(self, epoch: int) -> None:
        steps = self.steps(epoch)
        if self._epoch == epoch:  # what was not seen was made again just now, and this with it
            return
        store = self._store(steps)
        made: dict[tuple[Digest, ...], list[NDArray]] = {}
        nearly: set[int] = set()
        why = ""
        arrays: list[NDArray] = []
        metrics: list[list[NDArray]] = []
        self._metrics = epoch, metrics
        for place, each in enumerate(self.trained_again(epoch, steps)):
            step, arrays = each.step, each.arrays
            metrics.append(each.metrics)
            after = self._recorded.after(step)
            pairs = zip(arrays, each.digests, after.arrays, strict=True)
            others = [array for array, digest, recorded in pairs if digest != recorded]
            if others:
                nearly.add(step.produced)
                why = why or (
                    f"the weights inside epoch {epoch} were not kept, and training from its start made others "
                    f"(first at version {after.version}): {NOT_THE_SAME}"
                )
            if any(a.dtype.kind != "f" for a in others):
                raise ReplayError(why)
            made[after.arrays] = store.put(place, arrays)
        if nearly:
            off = self._off(self._recorded.after(steps[-1]), arrays)
            if off > ROUNDING:
                raise ReplayError(why)
            self.off = max(self.off, off)
        self.nearly |= nearly
        self.versions.update(step.produced for step in steps)
        self._made = made
        if nearly:
            self._rounded.add(epoch)
        else:
            self.epochs.add(epoch)

    def _off(self, state: State, arrays: Sequence[NDArray]) -> float:
        """How far contents made again are from those of a state, where these were kept."""
        kept = self._trace.index.kept(state)
        if kept is None:
            return math.inf
        largest = 0.0
        for made, recorded in zip(arrays, self._trace.arrays(kept), strict=True):
            if made.size and made.dtype.kind == "f":
                a, b = made.astype(np.float64), recorded.astype(np.float64)
                with np.errstate(invalid="ignore", divide="ignore"):
                    off = float(np.max(np.abs(a - b)) / np.max(np.abs(b))) if (a != b).any() else 0.0
                largest = max(largest, off if off == off else math.inf)
        return largest

    def trained_again(self, epoch: int, steps: Sequence[Step]) -> Iterator[Trained]:
        """Trains a (1-based) epoch from its recorded start over its recorded batches: each step with the contents of
        the variables, and the metric state, after it."""
        trace, engine, recorded = self._trace, self._engine, self._recorded
        trainer = engine.retrainer
        if trainer is None:
            raise ReplayError("what happened inside the epoch was not kept, and its steps cannot be run again")
        trainer.start(trace.arrays(recorded.kept(recorded.before(steps[0]))), recorded.optimizer(epoch))
        for step in steps:
            before = trace.index.computed_with(step)
            if before is not None and before.label == "changed":
                trainer.change(trace.arrays(recorded.kept(before)))
            metrics = None
            if step.metrics_before is not None:
                metrics = metric_values(engine, step.metrics_before) or engine.fresh()
            generator = None if step.generator is None else trace.array(step.generator)
            arrays, metrics_after = trainer.step(trace.batch(step.batch), generator, metrics)
            yield Trained(step, arrays, tuple(map(array_digest, arrays)), metrics_after, trainer.began)

    def _store(self, steps: Sequence[Step]) -> _Store:
        shapes = [v.shape for v in self._trace.header.variables]
        dtypes = [np.dtype(v.dtype) for v in self._trace.header.variables]
        sizes = [math.prod(s) * d.itemsize for s, d in zip(shapes, dtypes, strict=True)]
        total = sum(sizes) * len(steps)
        if self._folder is not None:
            self._made, self._epoch = {}, None
            self._folder.cleanup()
        self._folder = tempfile.TemporaryDirectory(prefix="diagnose-remade-")
        if total > min(MOST_BYTES, shutil.disk_usage(self._folder.name).free // 2):
            raise ReplayError(
                f"the weights inside an epoch were not kept, and to make them again takes {total / 2**30:.1f} GiB"
            )
        return _Store(Path(self._folder.name) / "versions", len(steps), shapes, dtypes, sizes)


class _Store:
    """Rows of arrays in one memory-mapped file."""

    def __init__(
        self, path: Path, rows: int, shapes: Sequence[Any], dtypes: Sequence[np.dtype[Any]], sizes: Sequence[int]
    ) -> None:
        self._map = np.memmap(path, np.uint8, "w+", shape=(max(rows, 1), max(sum(sizes), 1)))
        self._shapes, self._dtypes, self._sizes = shapes, dtypes, sizes

    def put(self, row: int, arrays: Sequence[NDArray]) -> list[NDArray]:
        start = 0
        views = []
        for array, shape, dtype, size in zip(arrays, self._shapes, self._dtypes, self._sizes, strict=True):
            part = self._map[row, start : start + size]
            part[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            views.append(part.view(dtype).reshape(shape))
            start += size
        return views
