"""The contents of recorded states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
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

    def values(self, state: State) -> Held:
        """The variables' values on each replica."""
        local = 1 if self._spread is None else self._spread.local
        return Held(self._engine.value, self.arrays(state), self.copies(state), local)


class Held(Sequence[list[Any]]):
    """The contents of the variables as the engine's values, for each replica. They are made when they are asked for:
    many batches in one go need the `arrays` only."""

    def __init__(
        self,
        value: Callable[[NDArray], Any],
        arrays: Sequence[NDArray],
        copies: Mapping[tuple[int, int], NDArray] | None = None,
        replicas: int = 1,
    ) -> None:
        self.arrays = arrays
        self._value, self._copies, self._count = value, copies or {}, replicas

    @cached_property
    def _replicas(self) -> list[list[Any]]:
        first = [self._value(array) for array in self.arrays]
        found = [list(first) for _ in range(self._count)]
        for (of, replica), array in self._copies.items():
            found[replica][of] = self._value(array)
        return found

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, replica: Any) -> Any:
        return self._replicas[replica]
