"""How much traces may take on disk. Counts only; what is left out beyond a limit is the encoder's decision."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Self

from diagnose.record.guard import RecordingEnded
from diagnose.record.least import LEAST_BYTES, check_bytes, size
from diagnose.tracefile import format as fmt
from diagnose.tracefile.store import journal_bytes
from diagnose.tracefile.writer import TraceWriter

SMALL_BYTES: Final = 64 << 20
"""A trace that may take less than this has small pages."""

_END_PAGES: Final = 12
"""Pages that are left for the end of the recording: why it stopped, the last state, the seal."""

_END_BYTES: Final = 24 << 10
"""The same in bytes, where pages are small."""


class Tier(Enum):
    """What a trace holds, in the order in which it is left out as the trace fills up."""

    UPDATES = "weights of single updates"
    ROWS = "rows seen for the first time"
    CHANGED = "weights that callbacks changed inside epochs"
    STEPS = "steps"
    EPOCH_ENDS = "weights at the ends of epochs"
    REST = "anything more"


SHARES: dict[Tier, float] = {
    Tier.UPDATES: 0.5,
    Tier.ROWS: 0.6,
    Tier.CHANGED: 0.7,
    Tier.STEPS: 0.8,
    Tier.EPOCH_ENDS: 0.9,
    Tier.REST: 1.0,
}
"""The part of what a trace may take up to which each is added."""


class TraceFull(RecordingEnded):
    """The trace has no room for what it must hold; recording ends here."""


class SharedBytes:
    """A limit for several traces together, counted as they grow. Safe to use from several threads."""

    def __init__(self, nbytes: int) -> None:
        check_bytes(nbytes)
        self.nbytes = nbytes
        self._used: dict[object, int] = {}
        self._total = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that the traces take, or may take while they are being written."""
        return self._total

    def fits(self, owner: object, nbytes: int, more: int, limit: float) -> bool:
        """Whether all together stay within `limit` once the owner's `nbytes` grew by `more`. If so, they are taken."""
        with self._lock:
            found = self._total - self._used.get(owner, 0) + nbytes + more <= limit
            self._set(owner, nbytes + more if found else nbytes)
            return found

    def settle(self, owner: object, nbytes: int) -> None:
        """What an owner takes for good."""
        with self._lock:
            self._set(owner, nbytes)

    def _set(self, owner: object, nbytes: int) -> None:
        self._total += nbytes - self._used.get(owner, 0)
        self._used[owner] = nbytes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy of a tracer keeps within the same limit

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedBytes, (self.nbytes,)  # another process counts for itself


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be kept. `parameters`: models with more keep weights at epoch ends only. `nbytes`: what the trace and
    its journal take at most; `shared`: a limit for several traces, beside it.

    Raises UsageError for less than `LEAST_BYTES`.
    """

    parameters: int = 1_000_000
    nbytes: int = 1 << 30
    shared: SharedBytes | None = None

    def __post_init__(self) -> None:
        check_bytes(self.nbytes)

    @property
    def left(self) -> int:
        """Bytes that a trace which begins now may take."""
        shared = self.shared
        return self.nbytes if shared is None else min(self.nbytes, shared.nbytes - shared.used)

    def page_bytes(self) -> int:
        """The page size for a trace that begins now. Raises TraceFull where no trace fits any more."""
        left = self.left
        if left < LEAST_BYTES // 2:
            assert self.shared is not None
            raise TraceFull(f"{_shared(self.shared)}, and they are used up.")
        return fmt.PAGE_BYTES if left >= SMALL_BYTES else fmt.SMALL_PAGE_BYTES


class Meter:
    """Holds one trace's size on disk, its journal included, against its budget."""

    def __init__(self, budget: Budget, writer: TraceWriter) -> None:
        self._budget = budget
        self._writer = writer
        page = writer.page_bytes
        self._reserved = journal_bytes(page) + max(_END_PAGES * page, _END_BYTES)
        self._owner = object()
        self._open = True
        self.fits(Tier.REST, 0)  # counts what is there, for other traces

    def fits(self, tier: Tier, more: int) -> bool:
        """Whether the trace may grow by `more` bytes of this tier."""
        return self._within(tier, more, exact=False) or self._within(tier, more, exact=True)

    def reason(self, tier: Tier, more: int) -> str:
        """Which limit is in the way of `more` bytes of this tier, as a clause."""
        shared = self._budget.shared
        if shared is None:
            return f"the trace may take {size(self._budget.nbytes)}"
        if shared.nbytes <= self._budget.nbytes or self._own(tier, more, self._writer.nbytes()):
            return _shared(shared)
        return f"the trace may take {size(self._budget.nbytes)}"

    def settle(self) -> None:
        """The file is closed: it takes what it takes, and has no journal."""
        if self._open and self._budget.shared is not None:
            self._open = False
            with contextlib.suppress(OSError):  # else it stays counted as it was
                self._budget.shared.settle(self._owner, self._writer.path.stat().st_size)

    def _within(self, tier: Tier, more: int, *, exact: bool) -> bool:
        nbytes = self._writer.nbytes(exact=exact)
        shared = self._budget.shared
        return self._own(tier, more, nbytes) and (
            shared is None
            or shared.fits(self._owner, nbytes + self._reserved, more, self._limit(shared.nbytes, SHARES[tier]))
        )

    def _own(self, tier: Tier, more: int, nbytes: int) -> bool:
        return nbytes + self._reserved + more <= self._limit(self._budget.nbytes, SHARES[tier])

    def _limit(self, nbytes: int, share: float) -> float:
        return self._reserved + share * (nbytes - self._reserved)


def _shared(shared: SharedBytes) -> str:
    return f"all fits of this run together may take {size(shared.nbytes)}"
