"""The contents of recorded states."""

from __future__ import annotations

from typing import Any

from diagnose.errors import ReplayError
from diagnose.replay.engine import Engine
from diagnose.replay.recorded import Recorded
from diagnose.replay.remake import Remaker
from diagnose.tracefile.model import Digest, NDArray, State
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.replicas import Spread


class States(Recorded):
    """Looks up recorded states, and makes those again that were not kept."""

    def __init__(self, trace: Trace, spread: Spread | None, engine: Engine, remaker: Remaker) -> None:
        super().__init__(trace, spread)
        self._engine = engine
        self._remaker = remaker

    def arrays(self, state: State) -> list[NDArray]:
        """The contents of the model's variables, in order."""
        kept = self._trace.index.kept(state)
        if kept is None:
            if self._spread is not None:
                raise ReplayError(
                    f"the weights of version {state.version} were not kept, and training on {self._spread.count} "
                    "replicas is not run again"
                )
            return self._remaker.arrays(state)
        if len(kept.arrays) != len(self._engine.shapes) + len(self.replica_places):
            raise ReplayError("the model had other variables at that time")
        return self._trace.arrays(kept)[: len(self._engine.shapes)]

    def carried(self, state: State) -> tuple[Digest, ...]:
        """What stateful layers start from."""
        return tuple(state.arrays[place] for place in self._engine.carried)

    def copies(self, state: State) -> dict[tuple[int, int], NDArray]:
        """What further replicas hold for themselves, by (index of the variable, replica)."""
        kept = self._trace.index.kept(state) if self.replica_places else None
        if kept is None:
            return {}
        return {(of, replica): self._trace.array(kept.arrays[place]) for of, replica, place in self.replica_places}

    def values(self, state: State) -> list[list[Any]]:
        """The variables' values on each replica."""
        engine = self._engine
        first = [engine.value(array) for array in self.arrays(state)]
        replicas = [list(first) for _ in range(1 if self._spread is None else self._spread.local)]
        for (of, replica), array in self.copies(state).items():
            replicas[replica][of] = engine.value(array)
        return replicas
