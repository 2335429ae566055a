"""Makes weights again that were not kept: trains an epoch once more, from its recorded start over its recorded batches.

Every version is held against its recorded digest; the first that differs ends it. The versions of one epoch lie in a
temporary file, so that replay can go over them as often as it needs.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.frameworks.keras.optimizers import rate as rate_of
from diagnose.replay.backends.common import initial_optimizer_state, optimizer_variables
from diagnose.result.problems import users_code
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, NDArray, State, Step

if TYPE_CHECKING:
    from diagnose.replay.replayer import Replayer

NOT_THE_SAME = "the run is not deterministic, or a callback takes part in it"

MOST_BYTES = 8 << 30
"""Weights of one epoch made again at most; they must also fit into half of the free disk."""


class Remaker:
    """Weights made again, by the digests of their arrays. Use within `borrowed(model, …)`: it trains the model."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._epoch: int | None = None
        self._made: dict[tuple[Digest, ...], list[NDArray]] = {}
        self.versions: set[int] = set()
        """The versions made again so far, each equal to the recorded one by digest."""
        self._failed: dict[int, str] = {}

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

    def _epoch_of(self, state: State) -> int:
        for epoch in self._replayer.trace.epochs:
            if state.version is not None and epoch.first_version < state.version <= epoch.last_version:
                return epoch.epoch
        raise ReplayError(f"the weights of version {state.version} were not kept, and its epoch did not end")

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
        replayer = self._replayer
        steps = replayer.steps(epoch)
        store = self._store(steps)
        made: dict[tuple[Digest, ...], list[NDArray]] = {}
        for place, (step, arrays, _) in enumerate(self.trained_again(epoch, steps)):
            after = replayer.states.after(step)
            if tuple(array_digest(a) for a in arrays) != after.arrays:
                raise ReplayError(
                    f"the weights inside epoch {epoch} were not kept, and training from its start made others "
                    f"(first at version {after.version}): {NOT_THE_SAME}"
                )
            made[after.arrays] = store.put(place, arrays)
            self.versions.add(step.produced)
        self._made = made

    def trained_again(self, epoch: int, steps: Sequence[Step]) -> Iterator[tuple[Step, list[NDArray], list[NDArray]]]:
        """Trains a (1-based) epoch from its recorded start over its recorded batches: each step with the contents of
        the model's variables, and of its metrics', after it."""
        replayer = self._replayer
        trace, passes, backend = replayer.trace, replayer.passes, replayer.backend
        start = replayer.states.before(steps[0])
        runner = backend.runner(replayer.model, training=True, fixed=replayer.fit_fixed)
        runner.set_weights(trace.arrays(_kept(replayer, start)))
        runner.set_optimizer(self.optimizer_state(epoch))
        runner.set_metrics(passes.fresh())
        for step in steps:
            before = trace.index.computed_with(step)
            if before is not None and before.label == "changed":
                runner.set_weights(trace.arrays(_kept(replayer, before)))
            if step.metrics_before is not None:
                runner.set_metrics(passes.metric_tensors(step.metrics_before) or passes.fresh())
            batch = trace.batch(step.batch)
            generator = None if step.generator is None else trace.array(step.generator)
            with backend.generator(generator):
                weight = passes.weights(batch.sample_weight, batch.weight_tree)
                runner.step(passes.tree(batch.x), passes.tree(batch.y), weight)
            yield step, [backend.array(v) for v in runner.weights()], [backend.array(v) for v in runner.metrics()]

    def _store(self, steps: Sequence[Step]) -> _Store:
        shapes = [v["shape"] for v in self._replayer.trace.info["variables"]]
        dtypes = [np.dtype(v["dtype"]) for v in self._replayer.trace.info["variables"]]
        sizes = [math.prod(s) * d.itemsize for s, d in zip(shapes, dtypes, strict=True)]
        total = sum(sizes) * len(steps)
        if self._folder is not None:
            self._made = {}
            self._folder.cleanup()
        self._folder = tempfile.TemporaryDirectory(prefix="diagnose-remade-")
        if total > min(MOST_BYTES, shutil.disk_usage(self._folder.name).free // 2):
            raise ReplayError(
                f"the weights inside an epoch were not kept, and to make them again takes {total / 2**30:.1f} GiB"
            )
        return _Store(Path(self._folder.name) / "versions", len(steps), shapes, dtypes, sizes)

    def optimizer_state(self, epoch: int) -> list[NDArray]:
        """The optimizer's variables at the start of an epoch, with the rate the epoch ran at."""
        replayer = self._replayer
        trace, variables = replayer.trace, optimizer_variables(replayer.model)
        before = [e for e in trace.epochs if e.epoch < epoch]
        if before:
            recorded = trace.states[before[-1].state].optimizer_arrays
            if recorded is None or len(recorded) > len(variables):
                raise ReplayError("the weights inside the epoch were not kept, nor was the optimizer's state")
            found = [np.array(trace.array(digest)) for digest in recorded]
            if len(recorded) < len(variables):
                found += self._never_used(len(recorded), variables)
        else:
            found = initial_optimizer_state(replayer.model, replayer.backend.contents)
        if len(found) != len(variables):
            raise ReplayError("the model's optimizer has other variables than the one that the fit was run with")
        rate = next(e.learning_rate for e in trace.epochs if e.epoch == epoch)
        own = None if replayer.model.optimizer is None else rate_of(replayer.model.optimizer)
        for i, v in enumerate(variables):
            if v is own and rate is not None:
                found[i] = np.array(rate, found[i].dtype)
        return found

    def _never_used(self, recorded: int, variables: Sequence[Any]) -> list[NDArray]:
        """What a fit that left its optimizer alone (the model's own step has others) did not make: a new one's."""
        optimizer, contents = self._replayer.model.optimizer, self._replayer.backend.contents
        if recorded != len(type(optimizer).from_config(optimizer.get_config()).variables):
            raise ReplayError("the model's optimizer has other variables than the one that the fit was run with")
        return initial_optimizer_state(self._replayer.model, contents)[recorded:]


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


def _kept(replayer: Replayer, state: State) -> State:
    kept = replayer.trace.index.kept(state)
    if kept is None:
        raise ReplayError(f"the weights of version {state.version}, where the epoch starts, were not kept")
    return kept
