"""Makes the versions and metric values between two looks of the recorder again: inside executions of several steps
(`steps_per_execution`), where fit lets nobody look, and inside the epochs of a light recording. Accepts them only where
training ends in exactly what was recorded next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from msgspec import structs

from diagnose.errors import ReplayError
from diagnose.replay.engine import Began
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import Digest, NDArray, State, Step
from diagnose.tracefile.reader import Trace

NOT_THE_SAME: Final = "the run is not deterministic, or a callback takes part in it"


@dataclass(frozen=True, slots=True)
class Trained:
    """A step, trained again: the contents of the model's variables (with their digests) and of its metrics' after it,
    and what it drew its random numbers from."""

    step: Step
    arrays: list[NDArray]
    digests: tuple[Digest, ...]
    metrics: list[NDArray]
    began: Began


def seen_through(trace: Trace, epoch: int, trained: Iterable[Trained]) -> set[int]:
    """Completes the trace's steps and states of a (1-based) epoch from its steps, trained again. Returns the versions
    that it completed.

    Raises:
        ReplayError: it cannot be trained again, or came to other weights.
    """
    execution: list[Trained] = []
    steps: list[Step] = []
    states: list[State] = []
    arrays: dict[Digest, NDArray] = {}
    versions: set[int] = set()
    left: bytes | None = None
    for made in trained:
        execution.append(made)
        recorded = trace.index.produced_by(made.step)
        if recorded is None:
            continue
        if made.digests != recorded.arrays:
            raise ReplayError(_others(trace, epoch, made.step))
        states += [_state(trace, each.step.produced, each.digests) for each in execution[:-1]]
        found = list(_steps(execution, left, arrays))
        steps += found
        left = found[-1].metrics_after
        versions.update(each.step.produced for each in execution[:-1])
        execution = []
    trace.complete(steps, states, arrays)
    return versions


def _others(trace: Trace, epoch: int, step: Step) -> str:
    if step.produced == max(each.produced for each in trace.index.steps_of(epoch)):
        return f"epoch {epoch} was trained again from its start and ended in other weights: {NOT_THE_SAME}"
    return (
        f"version {step.produced} came out otherwise when epoch {epoch} was trained again, so what happened "
        f"between the looks of the recording is not known: {NOT_THE_SAME}"
    )


def _state(trace: Trace, version: int, digests: tuple[Digest, ...]) -> State:
    groups: dict[str, list[Digest]] = {}
    for entry, digest in zip(trace.header.variables, digests, strict=True):
        groups.setdefault(entry.group, []).append(digest)
    trainable, others, seeds = (group_digest(groups.get(g, [])) for g in ("trainable", "non_trainable", "seed"))
    return State(-1, version, "version", trainable, others, seeds, None, digests, None, False)


def _steps(execution: Sequence[Trained], left: bytes | None, arrays: dict[Digest, NDArray]) -> Iterator[Step]:
    """The steps of one execution with what was not seen of them: what each drew from, and the metric state around it,
    unless the execution ends in another one than was recorded. `left`: the metric state that it began with."""
    states = [b"".join(np.ascontiguousarray(a).tobytes() for a in each.metrics) for each in execution]
    same = execution[-1].step.metrics_after == states[-1]
    for each, state in zip(execution, states, strict=True):
        step = _began(each, arrays)
        if same:
            before = left if step.metrics_before is None else step.metrics_before
            step = replace(step, metrics_before=before, metrics_after=step.metrics_after or state)
        left = step.metrics_after
        yield step


def _began(made: Trained, arrays: dict[Digest, NDArray]) -> Step:
    step, (generator, seed) = made.step, made.began
    if step.generator is None and generator is not None:
        digest = array_digest(generator)
        arrays[digest] = generator
        step = replace(step, generator=digest)
    if step.batch.layout.global_seed is None and seed is not None:
        step = replace(step, batch=replace(step.batch, layout=structs.replace(step.batch.layout, global_seed=seed)))
    return step
