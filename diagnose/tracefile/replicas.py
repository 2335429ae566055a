"""How training was spread over replicas: what the trace says of it, and which rows of a batch each replica computed.
Knows nothing of TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnose.errors import ReplayError

if TYPE_CHECKING:
    from diagnose.tracefile.reader import Trace

MOST_REPLICAS = 1 << 16

SHARES_EVENT = "replica-shares"


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
    steps: dict[int, tuple[int, ...]] = field(default_factory=dict)
    evaluations: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: Trace) -> Spread | None:
        """None where one replica trained.

        Raises:
            ReplayError: what the trace says makes no sense.
        """
        found = trace.info.get("replicas")
        if found is None:
            return None
        try:
            return cls._read(trace, found)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ReplayError("the trace does not say legibly how training was spread over replicas") from error

    @classmethod
    def _read(cls, trace: Trace, found: Any) -> Spread:
        copies = [
            (int(entry["of"]), int(entry["replica"]), place)
            for place, entry in enumerate(trace.info.get("variables") or [])
            if entry["group"] == "replica"
        ]
        spread = cls(str(found["strategy"]), int(found["count"]), int(found["local"]), tuple(copies))
        if not 1 <= spread.local <= spread.count <= MOST_REPLICAS:
            raise ValueError("numbers of replicas")
        variables = len(trace.info.get("variables") or []) - len(copies)
        if any(not (0 <= variable < variables and 0 < replica < spread.local) for variable, replica, _ in copies):
            raise ValueError("copies")
        for event in trace.events:
            if event.kind == SHARES_EVENT:
                rows = tuple(int(n) for n in event.detail["rows"])
                if len(rows) != spread.local or min(rows) < 0:
                    raise ValueError("shares")
                if "evaluation" in event.detail:
                    spread.evaluations[(event.detail["evaluation"], event.detail["batch"])] = rows
                elif event.step is not None:
                    spread.steps[event.step] = rows
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
        return even_shares(rows, self.local) if recorded is None or sum(recorded) != rows else recorded


def part(tree: Any, start: int, stop: int) -> Any:
    """Rows `start` to `stop` of every array of a tree."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: part(v, start, stop) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(part(v, start, stop) for v in tree)
    return tree[start:stop]
