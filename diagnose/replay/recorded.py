"""Which states a step, an epoch or the end of a fit had: look-ups in the trace, without contents. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diagnose.errors import ReplayError
from diagnose.tracefile.model import Digest, NDArray, State, Step
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread


@dataclass(frozen=True, slots=True)
class OptimizerStart:
    """What is known of the optimizers before the first step of an epoch. `variables`: as the epoch before, or another
    fit, left them; None: nothing had used them yet. `rate`: the learning rate that the epoch ran at."""

    variables: Sequence[NDArray] | None
    rate: float | None


class Recorded:
    """The states of one trace. `spread`: how the fit was spread over replicas, if it was."""

    def __init__(self, trace: Trace, spread: Spread | None) -> None:
        self._trace = trace
        self._spread = spread

    def before(self, step: Step) -> State:
        """The state a step computed at: the version before it, or what a callback made of that."""
        state = self._trace.index.computed_with(step)
        if state is None:
            hint = ": the model was built in its first step; give it an Input" if step.computed_at == 0 else ""
            raise ReplayError(f"the weights of version {step.computed_at} were not recorded{hint}")
        return state

    def after(self, step: Step) -> State:
        """The state a step's update made."""
        state = self._trace.index.produced_by(step)
        if state is None:
            raise ReplayError(f"the weights of version {step.produced} were not recorded")
        return state

    def end_of(self, epoch: int) -> State:
        """The state at the end of a (1-based) epoch."""
        for row in self._trace.epochs:
            if row.epoch == epoch:
                return self._trace.states[row.state]
        raise ReplayError(f"epoch {epoch} did not end")

    def final(self) -> State:
        """The state after fit; that at the end of the last finished epoch if the fit did not end."""
        if self._trace.final is not None:
            return self._trace.final
        if self._trace.epochs:
            return self._trace.states[self._trace.epochs[-1].state]
        raise ReplayError("no epoch was finished")

    def kept(self, state: State) -> State:
        """The kept state of the same contents, for an epoch to start from. ReplayError where none was."""
        kept = self._trace.index.kept(state)
        if kept is None:
            raise ReplayError(f"the weights of version {state.version}, where the epoch starts, were not kept")
        return kept

    def optimizer(self, epoch: int) -> OptimizerStart:
        """The optimizer at the start of a (1-based) epoch. ReplayError where it was not recorded."""
        before = [e for e in self._trace.epochs if e.epoch < epoch]
        rate = next((e.learning_rate for e in self._trace.epochs if e.epoch == epoch), None)
        if before:
            recorded = self._trace.states[before[-1].state].optimizer_arrays
        else:
            start = next((state for state in self._trace.states if state.label == "start"), None)
            if start is None:
                return OptimizerStart(None, rate)
            recorded = start.optimizer_arrays
        if recorded is None:
            raise ReplayError("the weights inside the epoch were not kept, nor was the optimizer's state")
        return OptimizerStart([self._trace.array(digest) for digest in recorded], rate)

    @property
    def replica_places(self) -> tuple[tuple[int, int, int], ...]:
        """(index of the variable, replica, place among a state's arrays) of what further replicas hold."""
        return () if self._spread is None else self._spread.copies

    def weights(self, state: State) -> tuple[Digest, ...]:
        """What two states have in common that evaluate alike: all weights, on every replica, but no seeds."""
        recorded = self._trace.header.variables
        own = (state.arrays[place] for of, _, place in self.replica_places if recorded[of].group != "seed")
        return (*state.weights, *own)
