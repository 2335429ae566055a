"""Which weights a step, an epoch or the end of a fit had, and their contents as backend values. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diagnose.errors import ReplayError
from diagnose.tracefile.model import Digest, NDArray, State, Step

if TYPE_CHECKING:
    from diagnose.replay.replayer import Replayer


class States:
    """Looks up recorded states, and makes those again that were not kept."""

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self._trace = replayer.trace
        self._spread = replayer.spread

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

    def arrays(self, state: State) -> list[NDArray]:
        """The contents of the model's variables, in order."""
        kept = self._trace.index.kept(state)
        if kept is None:
            if self._spread is not None:
                raise ReplayError(
                    f"the weights of version {state.version} were not kept, and training on {self._spread.count} "
                    "replicas is not run again"
                )
            return self._replayer.remaker.arrays(state)
        if len(kept.arrays) != len(self._replayer.variables) + len(self._copies):
            raise ReplayError("the model had other variables at that time")
        return self._trace.arrays(kept)[: len(self._replayer.variables)]

    @property
    def _copies(self) -> tuple[tuple[int, int, int], ...]:
        return () if self._spread is None else self._spread.copies

    def weights(self, state: State) -> tuple[Digest, ...]:
        """What two states have in common that evaluate alike: all weights, on every replica, but no seeds."""
        recorded = self._trace.header.variables
        own = (state.arrays[place] for of, _, place in self._copies if recorded[of].group != "seed")
        return (*state.weights, *own)

    def carried(self, state: State) -> tuple[Digest, ...]:
        """What stateful layers start from."""
        return tuple(state.arrays[place] for place in self._replayer.passes.carried)

    def copies(self, state: State) -> dict[tuple[int, int], NDArray]:
        """What further replicas hold for themselves, by (index of the variable, replica)."""
        kept = self._trace.index.kept(state) if self._copies else None
        if kept is None:
            return {}
        return {(of, replica): self._trace.array(kept.arrays[place]) for of, replica, place in self._copies}

    def values(self, state: State) -> list[list[Any]]:
        """The variables' values on each replica."""
        backend = self._replayer.backend
        first = [backend.tensor(array) for array in self.arrays(state)]
        replicas = [list(first) for _ in range(1 if self._spread is None else self._spread.local)]
        for (of, replica), array in self.copies(state).items():
            replicas[replica][of] = backend.tensor(array)
        return replicas
