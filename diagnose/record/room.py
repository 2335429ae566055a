"""What a trace still has room for. Says in the trace what is left out from when on."""

from __future__ import annotations

from diagnose.record.budget import Budget, Meter, Tier, TraceFull
from diagnose.tracefile.store import content_bytes
from diagnose.tracefile.writer import TraceWriter


class Room:
    """Answers for one trace whether something is still kept. What was refused once is not kept again later: a trace
    with holes would be harder to read than one that ends."""

    def __init__(self, writer: TraceWriter, budget: Budget) -> None:
        self._writer = writer
        self._meter = Meter(budget, writer)
        self._reasons: dict[Tier, str] = {}

    def open(self, tier: Tier, more: int) -> bool:
        """Whether `more` bytes of this tier are kept. The first time they are not, the trace gets an event."""
        if tier in self._reasons:
            return False
        if self._meter.fits(tier, more):
            return True
        reason = self._reasons[tier] = self._meter.reason(tier, more)
        self._writer.event("limit", {"what": tier.value, "reason": reason})
        return False

    def closed(self, tier: Tier) -> str:
        """Why nothing of this tier is kept any more, as a clause; empty where it is."""
        return self._reasons.get(tier, "")

    def need(self, more: int) -> None:
        """For what a trace must hold. Raises TraceFull where there is no room for `more` bytes of it."""
        if not self._meter.fits(Tier.REST, more):
            raise TraceFull(f"{self._meter.reason(Tier.REST, more)}, and it is full.")

    def content(self, nbytes: int) -> int:
        """Most bytes that a content takes in the file."""
        return content_bytes(nbytes, self._writer.page_bytes)

    def settle(self) -> None:
        """To be called when the file is closed."""
        self._meter.settle()
