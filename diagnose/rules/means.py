"""Which logged training values are plain means over an epoch's steps, and the sums they are made of, from the recorded
metric state."""

from __future__ import annotations

from dataclasses import replace

from diagnose.rules.facts import Facts
from diagnose.tracefile import increments
from diagnose.tracefile.increments import sums
from diagnose.tracefile.model import Step
from diagnose.tracefile.reader import Trace

CLOSE = 1e-5
"""Relative; what the logs and the state differ by at most, one being computed from the other in float32."""


def plain_means(facts: Facts) -> tuple[str, ...]:
    """The training metrics whose log was, in some epoch, total / count as of its last step, in the order of the logs.

    A metric that keeps the same two and makes something else of them (a root) is not among them.
    """
    names = dict.fromkeys(name for e in facts.epochs for name in e.logs)
    found = [name for name in names if facts.trace.source(name) != "validation"]
    means: set[str] = set()
    for epoch in facts.epochs:
        steps = facts.trace.index.steps_of(epoch.epoch)
        open_names = [name for name in epoch.logs if name in found and name not in means]
        values = running(facts.trace, steps[-1]) if steps and open_names else {}
        means.update(name for name in open_names if name in values and _is_mean(values[name], epoch.logs[name]))
    return tuple(name for name in found if name in means)


def own_train_step(facts: Facts) -> bool:
    """Whether the user's own `train_step` decides what a step's logs are."""
    return facts.trace.header.compile.custom_train_step


def held(trace: Trace, step: Step, state: bytes | None) -> dict[str, tuple[float, float]]:
    """metric -> (total, count) in the state before or after a step."""
    if state is None:
        return {}
    return sums(trace, replace(step, metrics_before=bytes(len(state)), metrics_after=state))


def running(trace: Trace, step: Step) -> dict[str, float]:
    """metric -> mean over all that its state holds after this step: what batch hooks are handed."""
    return increments.held(trace, step)


def _is_mean(value: float, logged: object) -> bool:
    return isinstance(logged, (int, float)) and abs(value - logged) <= CLOSE * abs(value)
