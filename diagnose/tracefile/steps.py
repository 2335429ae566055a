"""Steps, states, events and validation passes of a trace, by epoch, version and content. Knows nothing of Keras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from diagnose.errors import ReplayError
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import D, Digest, Epoch, Evaluation, Event, State, Step


class Index:
    """Looks up records without going through all of them each time: of a long fit, nothing may look at everything
    for each epoch."""

    def __init__(
        self,
        steps: Sequence[Step],
        states: Sequence[State],
        events: Sequence[Event[Any]] = (),
        evaluations: Sequence[Evaluation] = (),
        unrecorded: frozenset[int] = frozenset(),
    ) -> None:
        self._unrecorded = unrecorded
        self._evaluations = {evaluation.epoch: evaluation for evaluation in evaluations}
        self._events: dict[tuple[type, int | None], list[Event[Any]]] = {}
        self._writers: dict[tuple[Digest, Digest], Event[WeightsChanged]] = {}
        self._kinds = {event.kind for event in events}
        for event in events:
            self._events.setdefault((type(event.detail), event.epoch), []).append(event)
            if isinstance(event.detail, WeightsChanged):
                self._writers.setdefault(states[event.detail.after].weights, event)
        self._steps: dict[int, list[Step]] = {}
        for step in steps:
            self._steps.setdefault(step.epoch, []).append(step)
        self._by_version: dict[int, list[State]] = {}
        by_weights: dict[tuple[Digest, Digest], list[int]] = {}
        self._kept: dict[tuple[Digest, ...], State] = {}
        for state in states:
            if state.kept:
                self._kept[state.arrays] = state
            if state.version is not None and state.label not in ("epoch-end", "start"):
                self._by_version.setdefault(state.version, []).append(state)
            if state.version is not None and state.label == "version":
                by_weights.setdefault(state.weights, []).append(state.version)
        self._versions = {weights: tuple(sorted(set(found))) for weights, found in by_weights.items()}

    def steps_of(self, epoch: int) -> list[Step]:
        """The steps of a (1-based) epoch, in order. Raises ReplayError for an epoch whose steps the trace had no room
        for: what is said of an epoch is never said from a part of it."""
        if epoch in self._unrecorded:
            raise ReplayError(f"the steps of epoch {epoch} were not recorded")
        return self._steps.get(epoch, [])

    def seen_through(self, epoch: int) -> bool:
        """Whether the state after every step of a (1-based) epoch is known. Inside an execution of several steps
        (`steps_per_execution`) nothing is recorded."""
        return all(step.produced in self._by_version for step in self.steps_of(epoch))

    def computed_with(self, step: Step) -> State | None:
        """The state a step computed at: the version before it, or what a callback made of that."""
        return self.held_at(step.computed_at)

    def made(self, version: int) -> State | None:
        """The state an update made, whatever callbacks put in its place later."""
        return next((s for s in self._by_version.get(version, ()) if s.label == "version"), None)

    def held_at(self, version: int) -> State | None:
        """The state that the step after this version computed at."""
        states = self._by_version.get(version)
        return states[-1] if states else None

    def produced_by(self, step: Step) -> State | None:
        """The state a step's update made, before any callback."""
        states = self._by_version.get(step.produced)
        return states[0] if states else None

    def versions_of(self, state: State) -> tuple[int, ...]:
        """All versions that updates made with exactly these weights (trainable and non-trainable), ascending."""
        return self._versions.get(state.weights, ())

    def events_of(self, kind: type[D], epoch: int) -> list[Event[D]]:
        """The events whose detail is of this class in a (1-based) epoch, in order."""
        return self._events.get((kind, epoch), [])

    def any_of(self, kind: str) -> bool:
        """Whether there is an event of this kind."""
        return kind in self._kinds

    def validation_of(self, epoch: int) -> Evaluation | None:
        """The last validation pass of a (1-based) epoch."""
        return self._evaluations.get(epoch)

    def writer_of(self, state: State) -> Event[WeightsChanged] | None:
        """The event after which these weights were first seen; None where no event wrote them."""
        return self._writers.get(state.weights)

    def kept(self, state: State) -> State | None:
        """A state with the same contents whose arrays are in the file."""
        return self._kept.get(state.arrays)


def unrecorded(epochs: Sequence[Epoch], steps: Sequence[Step]) -> frozenset[int]:
    """The finished epochs (1-based) of which not all steps are in the trace."""
    counts = Counter(step.epoch for step in steps)
    return frozenset(e.epoch for e in epochs if counts[e.epoch] < e.last_version - e.first_version)


def logged_steps(steps: Sequence[Step]) -> Sequence[Step]:
    """Of an epoch's steps those its log covers: the ones after the last reset of the metrics."""
    for i in range(len(steps) - 1, 0, -1):
        if was_reset(steps[i - 1], steps[i]):
            return steps[i:]
    return steps


def was_reset(previous: Step | None, step: Step) -> bool:
    """Whether something changed metric state between two consecutive steps of an epoch."""
    return (
        previous is not None
        and previous.metrics_after is not None
        and step.metrics_before is not None
        and previous.metrics_after != step.metrics_before
    )
