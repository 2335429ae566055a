"""What traces of format 1 hold in another place than those of format 2, put in the place of today. Reads no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from diagnose.tracefile.about import Header
from diagnose.tracefile.events import ReplicaShares
from diagnose.tracefile.model import BatchRef, Digest, Evaluation, Event, Layout, Step


def with_layouts(
    header: Header,
    events: Iterable[Event[Any]],
    evaluations: Iterable[Evaluation],
    steps: Iterable[Step],
    batch_lists: Mapping[Digest, tuple[BatchRef, ...]],
) -> tuple[tuple[Step, ...], dict[Digest, tuple[BatchRef, ...]]]:
    """The steps and the lists of batches with each batch's layout, which stood in the header and in events."""
    of_steps: dict[int | None, tuple[int, ...]] = {}
    of_lists: dict[tuple[Digest | None, int | None], tuple[int, ...]] = {}
    passes = {evaluation.evaluation: evaluation.batches for evaluation in evaluations}
    for event in events:
        if isinstance(event.detail, ReplicaShares):
            if event.detail.evaluation is None:
                of_steps[event.step] = event.detail.rows
            else:
                of_lists[passes.get(event.detail.evaluation), event.detail.batch] = event.detail.rows
    known: dict[tuple[bool, bool, tuple[int, ...] | None], Layout] = {}

    def told(ref: BatchRef, axis: str | None, shares: tuple[int, ...] | None) -> BatchRef:
        key = (axis == "fixed", ref.sample_weight is not None, shares)
        if key not in known:
            known[key] = Layout(key[0], header.sample_weight if key[1] else None, shares)
        return replace(ref, layout=known[key])

    def listed(digest: Digest, refs: Iterable[BatchRef]) -> tuple[BatchRef, ...]:
        return tuple(told(r, header.validation_batch_axis, of_lists.get((digest, i))) for i, r in enumerate(refs))

    return (
        tuple(replace(s, batch=told(s.batch, header.batch_axis, of_steps.get(s.step))) for s in steps),
        {digest: listed(digest, refs) for digest, refs in batch_lists.items()},
    )
