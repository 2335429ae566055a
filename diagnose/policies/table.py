"""One row for each policy: where it stops, what it keeps, and what that is worth by one objective metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from diagnose.decide.better import best
from diagnose.decide.callbacks import callbacks
from diagnose.decide.clock import computed_with, source
from diagnose.decide.watched import Watcher, restoring
from diagnose.errors import DiagnoseError
from diagnose.policies.log import Log, log_of
from diagnose.policies.standard import own, standard
from diagnose.policies.stopping import Outcome, Policy, ReduceLROnPlateau, Unanswerable, code
from diagnose.result.diagnosis import Policies, PolicyRow
from diagnose.result.texts import Said, Text
from diagnose.tracefile.model import Epoch
from diagnose.tracefile.reader import Trace

Reevaluated = Mapping[int, Mapping[str, float]]

MOST_EPOCHS = 12
"""Of a long fit, no more epochs than this are evaluated again for the sake of the table."""

TRAINED_ON = Text(
    "unanswerable.trained-on",
    "it would have trained on past epoch {epoch}{planned:given( of {planned})}, where this trace ends",
)
NOT_ALL_KNOWN = Text(
    "policies.not-all-known",
    "Of {epochs} epochs, {known} have a {metric} that belongs to the weights they ended with; what the others are "
    "worth is not known.",
)
MOVING_AVERAGE = Text(
    "policies.moving-average",
    "The optimizer keeps a moving average (use_ema), which Keras puts in place of the weights after fit; the values "
    "here are those of the weights at the ends of epochs.",
)


def table(
    trace: Trace,
    decisions: tuple[Watcher, ...],
    reevaluated: Reevaluated,
    metric: str | None = None,
    policies: Sequence[Policy] | None = None,
) -> Policies | None:
    """The table, by `metric` (a name in the logs, or of a re-evaluated value; None: what the run went by); None where
    no epoch was finished.

    Raises:
        DiagnoseError: no epoch has such a metric.
    """
    if not trace.epochs:
        return None
    log = log_of(trace, decisions, reevaluated)
    objective = _objective(log, decisions) if metric is None else metric
    worth = {e.epoch: _worth(trace, e, objective, reevaluated) for e in trace.epochs}
    if metric is not None and metric not in log.logged and metric not in log.reevaluated:
        there = ", ".join(dict.fromkeys([*log.logged, *log.reevaluated]))
        raise DiagnoseError(f"This fit has no metric '{metric}'; there are {there or 'none'}.")
    chosen = _standard(trace, log, decisions) if policies is None else tuple(policies)
    mine = own(decisions) if policies is None else ()
    mode = log.mode(objective)
    found = best([(epoch, value) for epoch, value in worth.items() if value is not None], mode)
    return Policies(
        metric=objective,
        mode=mode,
        rows=tuple(_row(trace, log, policy, objective, worth, policy in mine) for policy in chosen),
        best_epoch=None if found is None else found[0],
        best_value=None if found is None else found[1],
        notes=tuple(_notes(trace, objective, worth)),
    )


def restorable(trace: Trace, decisions: tuple[Watcher, ...], reevaluated: Reevaluated) -> list[int]:
    """The epochs whose last weights some policy of the table would hold, and of which nothing is known yet; at most
    `MOST_EPOCHS`."""
    log = log_of(trace, decisions, reevaluated)
    held = []
    for policy in _standard(trace, log, decisions):
        try:
            outcome = policy.replay(log)
            held.append(outcome.restored or _end(log, outcome))
        except Unanswerable:
            continue
    return [epoch for epoch in dict.fromkeys(held) if epoch not in reevaluated][:MOST_EPOCHS]


def _standard(trace: Trace, log: Log, decisions: tuple[Watcher, ...]) -> tuple[Policy, ...]:
    """Without the policies that this fit had anyway and that are no matter of stopping."""
    present = {cb.name for cb in callbacks(trace)}
    found = standard(log, decisions)
    return tuple(p for p in found if not (isinstance(p, ReduceLROnPlateau) and "ReduceLROnPlateau" in present))


def _objective(log: Log, decisions: tuple[Watcher, ...]) -> str:
    """What the run stops or keeps by; else the validation loss, else the loss evaluated again."""
    first = restoring(decisions)
    for decision in (*([] if first is None else [first]), *decisions):
        if decision.monitor in log.logged:
            return decision.monitor
    return "val_loss" if "val_loss" in log.logged else "loss"


def _row(
    trace: Trace, log: Log, policy: Policy, objective: str, worth: Mapping[int, float | None], mine: bool
) -> PolicyRow:
    try:
        outcome = policy.replay(log)
        end = _end(log, outcome)
    except Unanswerable as why:
        return PolicyRow(policy=code(policy), label=policy.label, monitor=policy.monitor, own=mine, reason=why.reason)
    held = outcome.restored or end
    value = worth.get(held)
    used = log.epochs.index(end) + 1
    comparable = log.base(policy.monitor) == log.base(objective) and type(policy).__name__ != "Smoothed"
    optimism = outcome.number - value if comparable and outcome.number is not None and value is not None else None
    return PolicyRow(
        policy=code(policy),
        label=policy.label,
        monitor=policy.monitor,
        own=mine,
        stopped_epoch=outcome.stopped,
        best_epoch=outcome.best,
        best_number=outcome.number,
        held_epoch=held,
        held_value=value,
        optimism=optimism,
        epochs=used,
        time_saved=_saved(trace.epochs, used),
    )


def _end(log: Log, outcome: Outcome) -> int:
    """The last epoch it would have trained."""
    if outcome.stopped is not None:
        return outcome.stopped
    if not log.complete:
        raise Unanswerable(TRAINED_ON(epoch=log.epochs[-1], planned=log.planned))
    return log.epochs[-1]


def _worth(trace: Trace, epoch: Epoch, objective: str, reevaluated: Reevaluated) -> float | None:
    """The objective for the weights at the end of an epoch, where something was computed with exactly these."""
    logged = epoch.logs.get(objective)
    known = float(logged) if isinstance(logged, (int, float)) else None
    end = trace.states[epoch.state].weights
    if source(trace, objective) in ("validation", "end-of-epoch"):
        state = computed_with(trace, epoch, objective)
        # A moving average may have stood in for the weights while they were validated.
        return known if state is not None and state.weights == end else None
    return reevaluated.get(epoch.epoch, {}).get(objective)


def _saved(epochs: Sequence[Epoch], used: int) -> float | None:
    """Share of the recorded training time that the epochs after the first `used` took."""
    total = math.fsum(e.seconds for e in epochs)
    if not math.isfinite(total) or total <= 0:
        return None
    return max(0.0, 1 - math.fsum(e.seconds for e in epochs[:used]) / total)


def _notes(trace: Trace, objective: str, worth: Mapping[int, float | None]) -> list[Said]:
    notes = []
    known = sum(value is not None for value in worth.values())
    if known < len(worth):
        notes.append(NOT_ALL_KNOWN(epochs=len(worth), known=known, metric=objective))
    if trace.header.compile.optimizer_config.get("use_ema"):
        notes.append(MOVING_AVERAGE())
    return notes
