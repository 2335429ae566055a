"""Small questions about recorded steps. Knows nothing of Keras."""

from __future__ import annotations

from diagnose.trace.model import Step


def was_reset(previous: Step | None, step: Step) -> bool:
    """Whether something changed metric state between two consecutive steps of an epoch."""
    return (
        previous is not None
        and previous.metrics_after is not None
        and step.metrics_before is not None
        and previous.metrics_after != step.metrics_before
    )
