"""What the types of header and events cannot say: that records name only what exists, and that there is no more to look
at than a fit of the file's size can have. Judges nothing."""

from __future__ import annotations

from typing import Final

from diagnose.tracefile.events import CallbacksFinal, TrainEnd, WeightsChanged
from diagnose.tracefile.load import Records

FREE_WORK: Final = 2_000_000


def check_records(records: Records) -> None:
    """Raises ValueError naming the first thing that names what does not exist."""
    for event in records.events:
        named: tuple[int, ...] = ()
        if isinstance(event.detail, WeightsChanged):
            named = (event.detail.before, event.detail.after)
        elif isinstance(event.detail, TrainEnd):
            named = (event.detail.state,)
        for number in named:
            if number >= len(records.states):
                raise ValueError(f"an event {event.kind!r} names state {number}, which does not exist")
    _check_variables(records)
    local = 1 if records.header.replicas is None else records.header.replicas.local
    batches = [step.batch for step in records.steps] + [ref for refs in records.batch_lists.values() for ref in refs]
    if any(ref.layout.shares is not None and len(ref.layout.shares) != local for ref in batches):
        raise ValueError("a batch is split over another number of replicas than its header names")


def check_work(records: Records, nbytes: int) -> None:
    """Raises ValueError where what an analysis has to look at again and again is more than a fit of a file of `nbytes`
    can have: callbacks for each event and epoch, metrics for each epoch and step that has their state, batches for each
    validation."""
    most = FREE_WORK + nbytes // 2
    callbacks = len(records.header.callbacks)
    final = max((len(e.detail.callbacks) for e in records.events if isinstance(e.detail, CallbacksFinal)), default=0)
    happened = len(records.events) + len(records.epochs)
    names = len({name for epoch in records.epochs for name in epoch.logs})
    metrics = len(records.header.metric_variables) + len(records.header.metrics or ())
    told = sum(1 for step in records.steps if step.metrics_before or step.metrics_after)
    validated = sum(len(records.batch_lists.get(e.batches, ())) for e in records.evaluations if e.batches is not None)
    works = {
        "callbacks": max(callbacks, final) * happened,
        "names in its logs": names * len(records.epochs),
        "metrics": metrics * (told + len(records.epochs)),
        "batches of validation": validated // 4,  # of which each costs less
    }
    for what, work in works.items():
        if work > most:
            raise ValueError(f"it has more {what} than any fit of its length")


def _check_variables(records: Records) -> None:
    header = records.header
    known = len(header.variables)
    if records.info.get("variables") is not None:
        # A model may make variables of its own in its first step: then what it held before has fewer.
        counts = {len(state.arrays) for state in records.states if state.version != 0}
        first = {len(state.arrays) for state in records.states if state.version == 0}
        if counts - {known} or any(count > known for count in first):
            raise ValueError(f"a state does not have the {known} arrays that its header names")
        if any(place >= known for layer in header.model.layers for place in (*layer.weights, *layer.statistics)):
            raise ValueError("a layer in its header names variables that do not exist")
    known = len(header.optimizer_variables)
    for state in records.states:
        if known and state.optimizer_arrays is not None and len(state.optimizer_arrays) != known:
            raise ValueError(f"a state does not have the {known} arrays of the optimizer that its header names")
