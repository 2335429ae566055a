"""Rule `schedule-restarts`: a second fit goes on from the first, but counts its epochs from 1 again, and a schedule by
the epoch's number raises the learning rate to where it was at the beginning (tensorflow#49208, keras#1872)."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile.events import LearningRate

NAME = "schedule-restarts"

LEAST = 1.5
"""How many times the rate it ended with a fit has to begin with."""

NOT_SAID = Text("schedule-restarts.not-said", "This trace does not say what came before this fit.")
FIRST = Text("schedule-restarts.first", "This fit does not go on from where an earlier one ended.")
NO_CALLBACK = Text("schedule-restarts.no-callback", "No callback set the learning rate when this fit began.")
PASSED = Text(
    "schedule-restarts.passed",
    "This fit went on from epoch {last} of {trace}; {callback} set the learning rate from {before:number} to "
    "{after:number}{first:given( in epoch {first})}.",
)
FAILED = Text(
    "schedule-restarts.failed",
    "This fit went on from epoch {last} of {trace}, but it counts its epochs from 1 again: in its epoch 1 {callback} "
    "raised the learning rate from {before:number} to {after:number}."
    "{started:given( Loss: {started:number} evaluated before that epoch, {ended:number} after it.)}",
)
ADVICE = Text(
    "schedule-restarts.advice",
    """\
Say where training goes on, so that callbacks see the epoch's number of the whole training; `epochs` is then the number
of the last one:

{code:python}
""",
)
CODE = "model.fit(x, y, initial_epoch={last}, epochs={to}, callbacks=[...])"


def check(facts: Facts) -> Finding:
    """Fails where a callback raised the rate that an earlier fit of the same optimizer had ended with, in an epoch 1
    that is not the first of the training."""
    trace, start = facts.trace, facts.trace.header.start
    if start is None or not trace.steps:
        return not_applicable(NAME, NOT_SAID())
    previous = start.previous
    if previous is None or not previous.same_optimizer or previous.epoch != previous.last_epoch or not previous.epoch:
        return not_applicable(NAME, FIRST())
    first, ended_with = trace.steps[0].epoch, previous.end.learning_rate
    events = (e for e in trace.events_of(LearningRate) if e.step == 0 and e.detail.before == ended_with is not None)
    event = next(events, None)
    if event is None or event.detail.after is None or ended_with is None:
        return not_applicable(NAME, NO_CALLBACK())
    after = event.detail.after
    evidence = {
        "epoch": previous.last_epoch,
        "callback": event.detail.callback,
        "rate_before": ended_with,
        "rate_after": after,
    }
    said = {
        "last": previous.last_epoch,
        "trace": str(previous.trace),
        "callback": event.detail.callback,
        "before": ended_with,
        "after": after,
    }
    if first > 1 or after < LEAST * ended_with:
        return Finding(NAME, "passed", PASSED(**said, first=first), evidence, "")
    started, ended = facts.measured.started.get("loss"), facts.measured.reevaluated.get(first, {}).get("loss")
    title = FAILED(**said, started=None if ended is None else started, ended=ended)
    epochs = facts.epochs[-1].epoch if facts.epochs else 1
    code = CODE.format(last=previous.last_epoch, to=previous.last_epoch + epochs)
    return Finding(NAME, "failed", title, evidence, ADVICE(code=code))
