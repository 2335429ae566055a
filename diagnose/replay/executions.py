"""Makes the versions and metric values inside executions of several steps again (`steps_per_execution`), where fit lets
nobody look. Accepts them only where each execution ends in exactly what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np

from diagnose.errors import ReplayError
from diagnose.tracefile.digest import array_digest, group_digest
from diagnose.tracefile.model import NDArray, State, Step
from diagnose.tracefile.reader import Trace

NOT_THE_SAME: Final = "the run is not deterministic, or a callback takes part in it"

Trained: TypeAlias = tuple[Step, list[NDArray], list[NDArray]]
"""A step with the contents of the model's variables, and of its metrics', after it."""


def seen_through(trace: Trace, epoch: int, trained: Iterable[Trained]) -> set[int]:
    """Completes the trace's steps and states of a (1-based) epoch from its steps, trained again. Returns the versions
    that it completed.

    Raises:
        ReplayError: it cannot be trained again, or came to other weights.
    """
    execution: list[Trained] = []
    steps: list[Step] = []
    states: list[State] = []
    versions: set[int] = set()
    for made in trained:
        execution.append(made)
        step, arrays, _ = made
        recorded = trace.index.produced_by(step)
        if recorded is None:
            continue
        if tuple(array_digest(a) for a in arrays) != recorded.arrays:
            raise ReplayError(
                f"version {step.produced} came out otherwise when epoch {epoch} was trained again, so what happened "
                f"inside its executions of several steps is not known: {NOT_THE_SAME}"
            )
        states += [_state(trace, each.produced, contents) for each, contents, _ in execution[:-1]]
        steps += _steps(execution)
        versions.update(each.produced for each, _, _ in execution[:-1])
        execution = []
    trace.complete(steps, states)
    return versions


def _state(trace: Trace, version: int, arrays: Sequence[NDArray]) -> State:
    digests = tuple(array_digest(a) for a in arrays)
    groups: dict[str, list[Any]] = {}
    for entry, digest in zip(trace.header.variables, digests, strict=True):
        groups.setdefault(entry.group, []).append(digest)
    trainable, others, seeds = (group_digest(groups.get(g, [])) for g in ("trainable", "non_trainable", "seed"))
    return State(-1, version, "version", trainable, others, seeds, None, digests, None, False)


def _steps(execution: Sequence[Trained]) -> list[Step]:
    """The steps of one execution with the metric state between them; as recorded where it ends in another one."""
    states = [b"".join(np.ascontiguousarray(a).tobytes() for a in metrics) for _, _, metrics in execution]
    last = execution[-1][0]
    if last.metrics_after != states[-1]:
        return []
    found, before = [], execution[0][0].metrics_before
    for (step, _, _), after in zip(execution, states, strict=True):
        found.append(replace(step, metrics_before=before, metrics_after=after))
        before = after
    return found
