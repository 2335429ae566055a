"""Whether a fit goes on from where an earlier one was."""

from __future__ import annotations

from diagnose.rules.facts import Facts


def continues(facts: Facts) -> bool:
    """Whether the weights before the first step are those an earlier fit of the process had at the end of an epoch.
    Untrained weights that are used again for the next fold are none of that."""
    start = facts.trace.info.get("start")
    previous = start.get("previous") if isinstance(start, dict) else None
    return isinstance(previous, dict) and int(previous.get("epoch") or 0) > 0
