"""Says how much of a fit was recorded, where that was chosen while it ran, and why. Reads the trace only."""

from __future__ import annotations

from diagnose.result.texts import Said, Text
from diagnose.tracefile.events import LevelChanged
from diagnose.tracefile.levels import LEVELS
from diagnose.tracefile.model import Event
from diagnose.tracefile.reader import Trace

MOST_SHOWN = 5

BEGAN = Text("levels.began", "level {level} at first")
CHANGED = Text(
    "levels.changed",
    "level {level} from {epoch:given({start:given(the end|step {place})} of epoch {epoch}|step {step})} on, since at "
    "{before} recording took {own} ms of processor time a step, and the fit itself {fit} ms, of which {overhead:.3g} % "
    "were allowed",
)
MORE = Text("levels.more", "{count:plural(# more change|# more changes)}")
LEAST = Text(
    "levels.least",
    "no level below {level}: {because:select(batch-hooks=a callback has code of its own in every batch|own-code=the "
    "model's own code may draw random numbers, or ask for the time, outside of variables|device=the device adds in no "
    "fixed order|replicas=it ran on several replicas|loop=it was a loop of train_on_batch|{because})}",
)
ALL = Text("levels", "{parts:clauses}")


def any_change(trace: Trace) -> bool:
    """Whether the level was changed while the fit ran."""
    return next(iter(trace.events_of(LevelChanged)), None) is not None


def how_much(trace: Trace) -> Said | None:
    """The levels of a fit, in order; None where it had one, and could have had any."""
    policy, changes = trace.header.policy, list(trace.events_of(LevelChanged))
    parts = []
    if changes and policy.level in LEVELS:
        parts = [BEGAN(level=int(policy.level or 0)), *(_changed(trace, each) for each in changes[:MOST_SHOWN])]
        if len(changes) > MOST_SHOWN:
            parts.append(MORE(count=len(changes) - MOST_SHOWN))
    if policy.because is not None and policy.least in LEVELS:
        parts.append(LEAST(level=int(policy.least or 0), because=policy.because))
    return ALL(parts=parts) if parts else None


def _changed(trace: Trace, event: Event[LevelChanged]) -> Said:
    detail, step = event.detail, event.step or 0
    row = next((e for e in trace.epochs if e.epoch == event.epoch), None)
    return CHANGED(
        level=detail.level,
        before=detail.before,
        epoch=event.epoch,
        start=row is not None and row.last_version == step,
        place=None if row is None else step - row.first_version,
        step=step,
        own=f"{1000 * detail.own:.3g}",
        fit=f"{1000 * detail.fit:.3g}",
        overhead=100 * detail.overhead,
    )
