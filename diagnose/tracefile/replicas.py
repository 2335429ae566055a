"""How training was spread over replicas: what the trace says of it, and which rows of a batch each replica computed.
Knows nothing of TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diagnose.errors import ReplayError
from diagnose.tracefile.rows import mapped

if TYPE_CHECKING:
    from diagnose.tracefile.reader import Trace


def even_shares(rows: int, replicas: int) -> tuple[int, ...]:
    """How a batch is split unless the trace says otherwise: in order, the share rounded up, as long as there are rows
    (TensorFlow's legacy rebatching, which `fit` and `evaluate` use for arrays)."""
    share = -(-rows // replicas)
    return tuple(max(0, min(share, rows - i * share)) for i in range(replicas))


@dataclass(frozen=True, slots=True)
class Spread:
    """`count` replicas trained together, `local` of them in the process that recorded; a batch in the trace is what
    those `local` ones got.

    `copies` are (variable, replica, place in a state's arrays) of variables that each replica has for itself.
    """

    strategy: str
    count: int
    local: int
    copies: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(cls, trace: Trace) -> Spread | None:
        """None where one replica trained.

        Raises:
            ReplayError: what the trace says makes no sense.
        """
        found, listed = trace.header.replicas, trace.header.variables
        if found is None:
            return None
        copies = [(v.of or 0, v.replica or 0, place) for place, v in enumerate(listed) if v.group == "replica"]
        spread = cls(found.strategy, found.count, found.local, tuple(copies))
        variables = len(listed) - len(copies)
        if found.local > found.count or any(not (of < variables and 0 < i < found.local) for of, i, _ in copies):
            raise ReplayError("the trace does not say legibly how training was spread over replicas")
        return spread

    @property
    def partial(self) -> str | None:
        """Why logged values cannot be computed from this trace, as a clause; None where they can."""
        if self.local == self.count:
            return None
        return (
            f"{self.strategy} trained on {self.count} replicas and this trace holds the share of {self.local}, while "
            "logged values are over all of them"
        )

    def shares(self, rows: int, recorded: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The rows of each local replica in a batch of `rows`."""
        if recorded is None or sum(recorded) != rows or len(recorded) != self.local:
            return even_shares(rows, self.local)
        return recorded


def part(tree: Any, start: int, stop: int) -> Any:
    """Rows `start` to `stop` of every array of a tree."""
    return mapped(tree, lambda array: array[start:stop])
