"""The restoration verdict: which weights the model holds after fit, beside those its best logged value was computed
at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from diagnose.decide.decisions import Decision
from diagnose.decide.own_best import chosen
from diagnose.decide.reevaluated import evaluated_state, is_reevaluated
from diagnose.result.diagnosis import Best, Restoration, Span, Verdict
from diagnose.result.texts import Said, Text
from diagnose.tracefile.model import Epoch, Evaluation, State
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.steps import logged_steps

UNKNOWN = Text("writer.unknown", "unknown")
SOMEBODY = Text("writer.somebody", "Keras or the script, before {hook}")
NOT_KEPT = Text("verdict.not-kept", "{why}, so nothing was kept as best.")
FOREIGN = Text(
    "verdict.foreign", "{monitor} of epoch {epoch} was computed with weights that no update made (written by {writer})."
)
NOT_CONFIRMED = Text(
    "verdict.not-confirmed",
    "The weights of version {owner} were the only ones in use when {monitor} was computed, but replaying them did not "
    "give the logged value, so no version is named its owner.",
)
NEVER_SAW = Text("verdict.never-saw", "{callback} never saw '{monitor}' in the logs")
NO_NUMBER = Text("verdict.no-number", "{callback} saw no number in '{monitor}'")
NO_DIRECTION = Text("verdict.no-direction", "which way '{monitor}' is better for {callback} is not known")
NO_LOOK = Text("verdict.no-look", "{callback} looked at no epoch's '{monitor}'")
RESTORED_WRITTEN = Text(
    "verdict.restored-written", "The restored weights are no version of training; they were written by {writer}."
)


@dataclass(frozen=True, slots=True)
class Clock:
    """When a logged value was computed: the versions it was computed at, and the one version that owns it, if any.

    `owners` are all versions of the span if their weights are equal, else empty. `foreign` names who wrote the weights
    where they are no version of training."""

    span: Span | None
    owners: tuple[int, ...]
    foreign: str | None = None


def clock(trace: Trace, epoch: Epoch, key: str) -> Clock:
    """The clock of one logged value. Decided by what was computed when; equal numbers make no owner."""
    if key.startswith("val_"):
        return _validation_clock(trace, epoch)
    if is_reevaluated(trace, key):
        return _clock_of(trace, epoch, evaluated_state(trace, epoch))
    if epoch.epoch in trace.unrecorded:
        return _clock_without_steps(trace, epoch)
    steps = logged_steps(trace.index.steps_of(epoch.epoch))
    if not steps:
        return Clock(None, ())
    span = Span(steps[0].computed_at, steps[-1].computed_at)
    states = [trace.index.computed_with(step) for step in steps]
    known = [state for state in states if state is not None]
    changed = [state for state in known if _overwritten(trace, state)]
    if changed:
        return Clock(span, (), _writer(trace, changed[0]))
    same = len(steps) == 1 or (len(known) == len(states) and len({state.weights for state in known}) == 1)
    return Clock(span, tuple(range(span.first, span.last + 1)) if same else ())


def _clock_without_steps(trace: Trace, epoch: Epoch) -> Clock:
    """Where only the ends of epochs are recorded: of one step, what was there before it; of several, no owner."""
    span = Span(epoch.first_version, epoch.last_version - 1)
    state = trace.index.held_at(span.first)
    unsaid = any(event.kind == "changes-left-out" for event in trace.events)
    if span.first < span.last or state is None or unsaid:
        return Clock(span, ())
    if _overwritten(trace, state):
        return Clock(span, (), _writer(trace, state))
    return Clock(span, (span.first,))


def _overwritten(trace: Trace, state: State) -> bool:
    """Whether something wrote other weights than the update did. Seeds alone do not count: on TensorFlow they move on
    when a step finds the end of its data."""
    if state.label != "changed":
        return False
    made = [s.weights for s in trace.states if s.label == "version" and s.version == state.version]
    return state.weights not in made


def _validation_clock(trace: Trace, epoch: Epoch) -> Clock:
    found = validation_of(trace, epoch.epoch)
    if found is None:
        return Clock(None, ())
    return _clock_of(trace, epoch, trace.states[found.state])


def _clock_of(trace: Trace, epoch: Epoch, state: State) -> Clock:
    """Of a value that one state gave."""
    versions = trace.index.versions_of(state)
    if not versions:
        return Clock(None, (), _writer(trace, state))
    at = epoch.last_version if epoch.last_version in versions else versions[-1]
    return Clock(Span(at, at), (at,))


def validation_of(trace: Trace, epoch: int) -> Evaluation | None:
    """The last validation pass of a (1-based) epoch."""
    return trace.index.validation_of(epoch)


def _writer(trace: Trace, state: State) -> str:
    """Who wrote these weights: the callback after which they were first seen."""
    event = trace.index.writer_of(state)
    if event is None:
        return UNKNOWN()
    return str(event.detail["callback"] or "") or SOMEBODY(hook=str(event.detail["hook"]))


def restoring(decisions: tuple[Decision, ...]) -> Decision | None:
    """The EarlyStopping whose restore is judged: the first that restores, else the first; where there is none, a
    callback of the user's own that put weights back."""
    stopping = [d for d in decisions if d.kind == "early-stopping"]
    for d in stopping:
        if d.settings.get("restore_best_weights"):
            return d
    if stopping:
        return stopping[0]
    return next((d for d in decisions if d.kind == "own-restore"), None)


@dataclass(frozen=True, slots=True)
class Values:
    """What replay adds to a verdict; each function returns None where replay is not possible.

    `held(key)`: the monitored metric of the weights after fit. `confirm(epoch, key)`: whether replay at the owner
    gives the logged value.
    `reevaluated`: epoch -> value of the monitored metric for its last version.
    """

    held: Callable[[str], float | None]
    confirm: Callable[[Epoch, str], bool | None]
    reevaluated: Mapping[int, float]
    tolerance: float = 1e-5


def judge(trace: Trace, decision: Decision, final: State | None, values: Values) -> Restoration | None:
    """The verdict on one restoring callback; None where the fit left no epoch or no final weights to judge."""
    if final is None or not trace.epochs:
        return None
    key = decision.monitor
    mode = decision.direction
    best = _best_logged(trace, key, mode)
    kept = chosen(decision, trace.epochs)
    if best is None and kept is not None:
        # Only NaN was logged, which compares with nothing: the callback's best is the first that it saw.
        best = next(e for e in trace.epochs if e.epoch == kept)
    if decision.kind == "own-restore":  # what it calls best is its own rule
        best = next(e for e in trace.epochs if e.epoch == decision.settings["put_back"])
    held_versions = trace.index.versions_of(final)
    last = trace.epochs[-1].last_version
    base = Restoration(
        callback=decision.callback,
        monitor=key,
        best_epoch=None if best is None else best.epoch,
        best_logged=None if best is None else float(best.logs[key]),
        restored_epoch=None,
        restored_version=None,
        restored_value=values.held(key),
        computed_at=None,
        owner_versions=(),
        shift_updates=None,
        verdict="not-restored",
        best_by_reevaluation=_best_by_reevaluation(trace, mode, values.reevaluated),
        mode=mode,
        chosen_epoch=kept,
    )
    when = Clock(None, ()) if best is None else clock(trace, best, key)
    version = _restored_version(held_versions, best)
    base = replace(
        base,
        computed_at=when.span,
        owner_versions=when.owners,
        restored_version=version,
        restored_epoch=None if version is None else epoch_of(trace, version),
    )
    if not held_versions:
        writer = _writer(trace, final)
        return replace(base, verdict="replaced", written_by=writer, notes=(RESTORED_WRITTEN(writer=writer),))
    if best is None:
        return replace(base, notes=(NOT_KEPT(why=why_no_best(trace, decision)),))
    if when.foreign is not None:
        note = FOREIGN(monitor=key, epoch=best.epoch, writer=when.foreign)
        return replace(base, verdict="replaced", written_by=when.foreign, notes=(note,))
    # A restore of the last epoch leaves the last weights, too.
    kept_last = version == last and best.last_version != last and base.chosen_epoch != trace.epochs[-1].epoch
    if not decision.settings.get("restore_best_weights") or (kept_last and last not in when.owners):
        return replace(base, verdict="not-restored")
    return _by_owner(trace, base, best, when, held_versions, values)


def _by_owner(
    trace: Trace, base: Restoration, best: Epoch, when: Clock, held: tuple[int, ...], values: Values
) -> Restoration:
    if not when.owners:
        return replace(base, verdict="no-owner")
    confirmed = values.confirm(best, base.monitor)
    if confirmed is False:
        note = NOT_CONFIRMED(owner=when.owners[0], monitor=base.monitor)
        return replace(base, verdict="no-owner", owner_versions=(), confirmed=False, notes=(note,))
    verdict: Verdict = "aligned" if set(when.owners) & set(held) else "shifted"
    version = next((v for v in held if v in when.owners), base.restored_version)
    assert version is not None
    shift = 0 if verdict == "aligned" else version - when.owners[-1]
    return replace(
        base,
        verdict=verdict,
        restored_version=version,
        shift_updates=shift,
        confirmed=confirmed,
    )


def _best_logged(trace: Trace, key: str, mode: str | None) -> Epoch | None:
    candidates = [e for e in trace.epochs if isinstance(e.logs.get(key), (int, float)) and not math.isnan(e.logs[key])]
    if not candidates or mode is None:
        return None
    # The first of equals, as EarlyStopping keeps it.
    return min(candidates, key=lambda e: (e.logs[key] if mode == "min" else -e.logs[key], e.epoch))


def why_no_best(trace: Trace, decision: Decision) -> Said:
    """Why a callback has no best epoch, as the beginning of a sentence."""
    key = decision.monitor
    values = [e.logs[key] for e in trace.epochs if e.logs.get(key) is not None]
    if not values:
        return NEVER_SAW(callback=decision.callback, monitor=key)
    if not any(isinstance(v, (int, float)) for v in values):
        return NO_NUMBER(callback=decision.callback, monitor=key)
    if decision.direction is None:
        return NO_DIRECTION(callback=decision.callback, monitor=key)
    return NO_LOOK(callback=decision.callback, monitor=key)


def _best_by_reevaluation(trace: Trace, mode: str | None, reevaluated: Mapping[int, float]) -> Best | None:
    found = {epoch: value for epoch, value in reevaluated.items() if not math.isnan(value)}
    if not found or mode is None:
        return None
    epoch = min(found, key=lambda e: (found[e] if mode == "min" else -found[e], e))
    version = next(e.last_version for e in trace.epochs if e.epoch == epoch)
    return Best(epoch, version, found[epoch])


def _restored_version(held: tuple[int, ...], best: Epoch | None) -> int | None:
    """Of several versions with the held weights: the end of the best epoch if it is one of them, else the last."""
    if not held:
        return None
    return best.last_version if best is not None and best.last_version in held else held[-1]


def epoch_of(trace: Trace, version: int) -> int | None:
    """The epoch a version ends, or stands in."""
    for e in trace.epochs:
        if e.first_version < version <= e.last_version:
            return e.epoch
    return None
