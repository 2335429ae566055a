"""What traces of format 1 hold in another place than those of format 2, put in the place of today. Reads no file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from diagnose.tracefile.events import ReplicaShares
from diagnose.tracefile.model import BatchRef, Digest, Layout

if TYPE_CHECKING:
    from diagnose.tracefile.load import Records


def with_layouts(records: Records) -> Records:
    """The records of a trace of format 1, with each batch's layout, which stood in the header and in events."""
    header = records.header
    of_steps: dict[int | None, tuple[int, ...]] = {}
    of_lists: dict[tuple[Digest | None, int | None], tuple[int, ...]] = {}
    passes = {evaluation.evaluation: evaluation.batches for evaluation in records.evaluations}
    for event in records.events:
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

    return replace(
        records,
        steps=tuple(
            replace(step, batch=told(step.batch, header.batch_axis, of_steps.get(step.step))) for step in records.steps
        ),
        batch_lists={digest: listed(digest, refs) for digest, refs in records.batch_lists.items()},
    )
