"""The restoration verdict: which weights the model holds after fit, beside those its best logged value was computed
at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from diagnose.decide.better import best as best_of
from diagnose.decide.clock import clock, epoch_of, writer
from diagnose.decide.kept import chosen, logged
from diagnose.decide.mixtures import held_mixture
from diagnose.decide.put_back import Own
from diagnose.decide.watched import Watcher
from diagnose.result.diagnosis import Best, Clock, Restoration, Verdict
from diagnose.result.texts import Said, Text
from diagnose.tracefile.model import Epoch, State
from diagnose.tracefile.reader import Trace

NOT_KEPT = Text("verdict.not-kept", "{why}, so nothing was kept as best.")
FOREIGN = Text(
    "verdict.foreign", "{monitor} of epoch {epoch} was computed with weights that no update made (written by {writer})."
)
NOT_CONFIRMED = Text(
    "verdict.not-confirmed",
    "The weights of version {owner} were the only ones in use when {monitor} was computed, but replaying them did not "
    "give the logged value, so no version is named its owner.",
)
OTHER_LOSS = Text(
    "verdict.other-loss",
    "With these weights and the same rows, the metrics logged beside {monitor} come out as logged, and it does not: "
    "the loss itself gives another value now.",
)
NEVER_SAW = Text("verdict.never-saw", "{callback} never saw '{monitor}' in the logs")
NO_NUMBER = Text("verdict.no-number", "{callback} saw no number in '{monitor}'")
NO_DIRECTION = Text("verdict.no-direction", "which way '{monitor}' is better for {callback} is not known")
NO_LOOK = Text("verdict.no-look", "{callback} looked at no epoch's '{monitor}'")
RESTORED_WRITTEN = Text(
    "verdict.restored-written", "The restored weights are no version of training; they were written by {writer}."
)


@dataclass(frozen=True, slots=True)
class Values:
    """What replay adds to a verdict; None where replay is not possible.

    `held`: the monitored metric of the weights after fit. `confirm(epoch, key)`: whether replay at the owner
    gives the logged value.
    `other_loss(epoch, key)`: whether it gives all logged values but this loss, which gives another value now.
    `reevaluated`: epoch -> value of the monitored metric for its last version.
    """

    held: float | None
    confirm: Callable[[Epoch, str], bool | None]
    reevaluated: Mapping[int, float]
    tolerance: float = 1e-5
    other_loss: Callable[[Epoch, str], bool] = lambda epoch, key: False


def judge(trace: Trace, decision: Watcher, final: State | None, values: Values) -> Restoration | None:
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
    own = decision.own
    if own is not None:  # what it calls best is its own rule
        best = next((e for e in trace.epochs if e.epoch == own.epoch), None)  # None of an average
    held_versions = trace.index.versions_of(final)
    last = trace.epochs[-1].last_version
    base = Restoration(
        callback=decision.callback,
        monitor=key,
        best_epoch=None if best is None else best.epoch,
        best_logged=None if best is None or not decision.reads_one else float(best.logs[key]),
        restored_epoch=None,
        restored_version=None,
        restored_value=values.held,
        computed_at=None,
        owner_versions=(),
        shift_updates=None,
        verdict="not-restored",
        best_by_reevaluation=_best_by_reevaluation(trace, mode, values.reevaluated),
        mode=mode,
        chosen_epoch=kept,
    )
    if own is not None and own.mixture is not None:
        return replace(base, verdict="replaced", written_by=own.callback, average=own.mixture.plain())
    if own is not None and not decision.reads_one:
        return _by_own_rule(trace, base, own, best, values)
    when = Clock(decision.source) if best is None else clock(trace, best, key)
    version = _restored_version(held_versions, best)
    base = replace(
        base,
        computed_at=when.span,
        owner_versions=when.owners,
        restored_version=version,
        restored_epoch=None if version is None else epoch_of(trace, version),
    )
    if not held_versions:
        who, mixture = writer(trace, final), held_mixture(trace)
        average = None if mixture is None else mixture.plain()
        note = RESTORED_WRITTEN(writer=who)
        return replace(base, verdict="replaced", written_by=who, notes=(note,), average=average)
    if best is None:
        return replace(base, notes=(NOT_KEPT(why=why_no_best(trace, decision)),))
    if when.written_by is not None:
        note = FOREIGN(monitor=key, epoch=best.epoch, writer=when.written_by)
        return replace(base, verdict="replaced", written_by=when.written_by, notes=(note,))
    # A restore of the last epoch leaves the last weights, too.
    kept_last = version == last and best.last_version != last and base.chosen_epoch != trace.epochs[-1].epoch
    if not decision.settings.get("restore_best_weights") or (kept_last and last not in when.owners):
        return replace(base, verdict="not-restored")
    return _by_owner(trace, base, best, when, held_versions, values)


def _by_owner(
    trace: Trace, base: Restoration, best: Epoch, when: Clock, held: tuple[int, ...], values: Values
) -> Restoration:
    if not when.owners:
        # Its batches alone come out otherwise: their weights are not what makes the difference.
        notes = (OTHER_LOSS(monitor=base.monitor),) if values.other_loss(best, base.monitor) else ()
        return replace(base, verdict="no-owner", notes=(*base.notes, *notes))
    confirmed = values.confirm(best, base.monitor)
    changed = confirmed is False and values.other_loss(best, base.monitor)
    if changed:
        base = replace(base, notes=(*base.notes, OTHER_LOSS(monitor=base.monitor)))
    elif confirmed is False:
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


def _by_own_rule(trace: Trace, base: Restoration, own: Own, best: Epoch | None, values: Values) -> Restoration:
    """Of weights chosen by several logged values, or by what the code does not show: there is no one number to compare
    with, but whether each value was computed with the weights held."""
    assert trace.final is not None
    last = trace.epochs[-1]
    version = own.version if own.back else last.last_version
    base = replace(base, restored_version=version, restored_epoch=own.epoch if own.back else last.epoch)
    if not own.back:
        return replace(base, verdict="not-restored")
    base = replace(base, verdict="put-back")
    held = trace.index.versions_of(trace.final)
    if best is None or not own.reads or not held:
        return base
    whens = [clock(trace, best, key) for key in own.reads]
    spans = {when.span for when in whens}
    base = replace(base, computed_at=spans.pop() if len(spans) == 1 else None)
    confirmed = [values.confirm(best, key) for key in own.reads]
    if all(set(when.owners) & set(held) for when in whens) and False not in confirmed:
        proof = True if all(confirmed) else None
        return replace(base, verdict="aligned", owner_versions=whens[0].owners, shift_updates=0, confirmed=proof)
    return base


def _best_logged(trace: Trace, key: str, mode: str | None) -> Epoch | None:
    found = best_of(logged(key, trace.epochs), mode)
    return None if found is None else next(e for e in trace.epochs if e.epoch == found[0])


def why_no_best(trace: Trace, decision: Watcher) -> Said:
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
    found = best_of(sorted(reevaluated.items()), mode)
    if found is None:
        return None
    return Best(found[0], next(e.last_version for e in trace.epochs if e.epoch == found[0]), found[1])


def _restored_version(held: tuple[int, ...], best: Epoch | None) -> int | None:
    """Of several versions with the held weights: the end of the best epoch if it is one of them, else the last."""
    if not held:
        return None
    return best.last_version if best is not None and best.last_version in held else held[-1]
