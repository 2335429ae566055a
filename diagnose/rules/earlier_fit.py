"""Whether a fit goes on from where an earlier one was."""

from __future__ import annotations

from diagnose.rules.facts import Facts


def continues(facts: Facts) -> bool:
    """Whether the weights before the first step are those an earlier fit of the process had at the end of an epoch.
    Untrained weights that are used again for the next fold are none of that."""
    start = facts.trace.header.start
    return start is not None and start.previous is not None and start.previous.epoch > 0
