"""The tables of a diagnosis: epochs, steps, replay check, versions kept, and the notice. Reads what was measured."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from diagnose.analysis.levels import any_change, how_much
from diagnose.decide.clock import clocks, of_source
from diagnose.result.diagnosis import Clock, Diagnosis, EpochRow, ReplayCheck, Restoration, StepRow
from diagnose.result.kinds import How
from diagnose.result.measurements import Measurements
from diagnose.result.problems import Problems
from diagnose.result.texts import Said, Text, sentences
from diagnose.tracefile.about import Model
from diagnose.tracefile.events import Limit, TracerError, TracingStopped
from diagnose.tracefile.levels import levels
from diagnose.tracefile.model import Epoch
from diagnose.tracefile.reader import Trace
from diagnose.tracefile.values import own_values

MOST_PROBLEMS = 3

EVERY_UPDATE = Text("versions.every-update", "the weights of every update")
UNTIL_FULL = Text(
    "versions.until-full", "the weights of every update until the trace was full, then of the ends of epochs"
)
UNTIL_LESS = Text(
    "versions.until-less", "the weights of every update where these were recorded, else of the ends of epochs"
)
ENDS_OF_EPOCHS = Text("versions.ends-of-epochs", "the weights at the ends of epochs")
NOT_ASKED = Text("versions.not-asked", "it is not among the epochs that were explained, so it was not made again")
MADE_AGAIN = Text("versions.made-again", "{kept}; {again} more were made again by training, each equal by its digest")
NEARLY = Text(
    "versions.nearly",
    "{kept}; {again} more were made again by training: equal by digest, but for {nearly} that differ in the last "
    "digits, at the end of an epoch by {off} of the largest number in a variable at most",
)
NOT_REPLAYED = Text(
    "notice.not-replayed",
    "Not everything could be replayed: {shown:clauses}{more:given( (and {more} more))}. What needs it is left out or "
    "marked not applicable.",
)
_SO_FAR = "his report covers {epochs:plural(# finished epoch|# finished epochs)}, {steps:plural(# step|# steps)}."
UNTESTED = Text(
    "notice.untested-keras",
    "Keras {version} was not tested with this release of diagnose (tested: {oldest} to {newest}).",
)
EVALUATE_DRAWS = Text(
    "notice.evaluate-draws",
    "With this model evaluate itself draws random numbers (keras.random without a seed): called again, it may return "
    "other values.",
)
TRACER_ERROR = Text("notice.tracer-error", f"Tracing stopped after an error in the tracer ({{error}}); t{_SO_FAR}")
TRACING_STOPPED = Text("notice.tracing-stopped", f"Tracing stopped: {{reason}}. T{_SO_FAR}")
INTERRUPTED = Text(
    "notice.interrupted",
    f"The recording was interrupted: the process ended without closing it. T{_SO_FAR}",
)
NOT_ENDED = Text("notice.not-ended", f"The fit did not reach its end (an exception or an interrupt). T{_SO_FAR}")
TIER = Text(
    "notice.tier",
    "{what:select(weights of single updates=weights of single updates|rows seen for the first time=rows seen for the "
    "first time|weights that callbacks changed inside epochs=weights that callbacks changed inside epochs|weights at "
    "the ends of epochs=weights at the ends of epochs|anything more=anything more|{what})}",
)
LIMIT = Text(
    "notice.limit",
    "{reason}. As it filled up, {digests:given({digests:and} were recorded by digest only{steps:given(, and )})}"
    "{steps:given({first:given(no steps or validation batches were recorded from epoch {first} on|steps and validation "
    "batches were no longer recorded)})}.",
)

if TYPE_CHECKING:
    from diagnose.replay.check import EpochCheck
    from diagnose.replay.replayer import Replayer
    from diagnose.replay.runs import EvaluationData


MOST_CLOCKS = 1000
"""Names of an epoch whose clock is told; no fit of a person's has more."""


def epoch_rows(
    trace: Trace,
    reevaluated: Mapping[int, Mapping[str, float]],
    analysed: Container[int],
    restoration: Restoration | None,
    known: Mapping[int, tuple[How, str | None]] = MappingProxyType({}),
) -> Iterator[EpochRow]:
    """Of each epoch what was logged, when that was computed, and the same metrics of its last version over the
    evaluation data. `known`: how its weights are known."""
    found, at = clocks(trace), levels(trace)
    for e in trace.epochs:
        logged = {k: float(v) for k, v in e.logs.items() if isinstance(v, (int, float))}
        yield EpochRow(
            epoch=e.epoch,
            first_version=e.first_version,
            last_version=e.last_version,
            logged=logged,
            reevaluated=dict(reevaluated.get(e.epoch, {})),
            learning_rate=e.learning_rate,
            validation_version=_validation_version(trace, e),
            analysed=e.epoch in analysed,
            clocks={key: _confirmed(found[e.epoch][key], e, key, restoration) for key in list(logged)[:MOST_CLOCKS]},
            how=known[e.epoch][0] if e.epoch in known else None,
            why=known[e.epoch][1] if e.epoch in known else None,
            level=at.get(e.epoch),
        )


def how_known(trace: Trace, replayer: Replayer | None, reason: str | None) -> dict[int, tuple[How, str | None]]:
    """How the weights inside each (1-based) epoch are known: recorded, made again and proven, or not, and then why."""
    found: dict[int, tuple[How, str | None]] = {}
    for e in trace.epochs:
        states = map(trace.version, range(e.first_version + 1, e.last_version + 1))
        if all(state is not None and trace.index.kept(state) is not None for state in states):
            found[e.epoch] = "recorded", None
        elif replayer is not None and e.epoch in replayer.remaker.epochs:
            found[e.epoch] = "made-again", None
        else:
            why = reason if replayer is None else replayer.remaker.why_not(e.epoch)
            found[e.epoch] = "epoch-ends", why or NOT_ASKED()
    return found


def _validation_version(trace: Trace, epoch: Epoch) -> int | None:
    span = of_source(trace, epoch, "validation").span
    return None if span is None else span.last


def _confirmed(clock: Clock, epoch: Epoch, key: str, r: Restoration | None) -> Clock:
    """What replay showed to have no owner, has none."""
    about = r is not None and (r.best_epoch, r.monitor) == (epoch.epoch, key)
    denied = about and r is not None and r.confirmed is False and r.verdict == "no-owner"
    return replace(clock, owned=False) if denied else clock


def with_clocks(trace: Trace, d: Diagnosis) -> Diagnosis:
    """A diagnosis of an older release, which did not say when logged values were computed, with that."""
    if any(row.clocks for row in d.epoch_rows):
        return d
    known = {row.epoch: row.clocks for row in epoch_rows(trace, {}, (), d.restoration)}
    return replace(d, epoch_rows=tuple(replace(row, clocks=known.get(row.epoch, {})) for row in d.epoch_rows))


def step_rows(trace: Trace, checks: Mapping[int, EpochCheck]) -> Iterator[StepRow]:
    """All steps, with replayed values where they were replayed."""
    replayed = {s.step.step: s for check in checks.values() for s in check.steps}
    for step in trace.steps:
        check = replayed.get(step.step)
        yield StepRow(
            step=step.step,
            epoch=step.epoch,
            batch_index=step.batch_index,
            computed_at=step.computed_at,
            produced=step.produced,
            values=own_values(trace, step) if check is None else check.recorded,
            replayed=None if check is None else check.replayed,
            reproduced=None if check is None else check.reproduced,
        )


def replay_check(
    trace: Trace, replayer: Replayer | None, checks: Mapping[int, EpochCheck], reason: str | None
) -> ReplayCheck | None:
    """How many steps came out as recorded, and the largest error on logged values."""
    if replayer is None:
        return None
    from diagnose.replay.check import relative_tolerance

    errors: dict[str, float] = {}
    for e in trace.epochs:
        check = checks.get(e.epoch)
        for metric, value in (check.value if check else {}).items():
            logged = e.logs.get(metric)
            if isinstance(logged, (int, float)):
                difference = 0.0 if value == logged or (value != value and logged != logged) else abs(value - logged)
                errors[metric] = max(errors.get(metric, 0.0), difference)
    steps = [s for check in checks.values() for s in check.steps]
    tolerance = relative_tolerance(replayer)
    made = set(checks) & replayer.remaker.epochs
    return ReplayCheck(
        steps=len(steps),
        reproduced=sum(s.reproduced for s in steps),
        max_abs_error=errors,
        tolerance={metric: tolerance for metric in errors},
        epochs=tuple(checks),
        reason=reason,
        how=None if not checks else "recorded" if not made else "made-again" if made == set(checks) else "partly",
    )


def versions(trace: Trace, replayer: Replayer | None) -> dict[str, Any]:
    """How many versions there are, how many are kept, and by which rule."""
    made = [s for s in trace.states if s.label == "version"]
    kept = sum(trace.index.kept(s) is not None for s in made)
    light = any(level in (0, 1) for level in (trace.header.policy.level, *levels(trace).values()))
    total = max(len(made), trace.updates + 1) if trace.unrecorded or light else len(made)
    if kept == total:
        text = EVERY_UPDATE()
    else:
        every = trace.header.policy.every_update
        text = ENDS_OF_EPOCHS() if not every else UNTIL_LESS() if any_change(trace) else UNTIL_FULL()
    remaker = None if replayer is None else replayer.remaker
    if remaker is not None and remaker.versions:
        states = [trace.version(v) for v in remaker.versions]
        again = sum(state is None or trace.index.kept(state) is None for state in states)
        if remaker.nearly:
            text = NEARLY(kept=text, again=again, nearly=len(remaker.nearly), off=f"{remaker.off:.0e}")
        elif again:
            text = MADE_AGAIN(kept=text, again=again)
    told = how_much(trace)
    return {"total": total, "kept": kept, "policy": text, **({} if told is None else {"levels": told})}


def model_shown(model: Model) -> dict[str, Any]:
    """The model as it stands in a diagnosis, without what it is built from."""
    shown: dict[str, Any] = msgspec.to_builtins(model)
    del shown["architecture"]
    layers = [{"name": layer.name, "class": layer.class_name, "kind": layer.kind} for layer in model.layers]
    return {**shown, "layers": layers}


def evaluation_data(data: EvaluationData | None, replayer: Replayer | None, measured: Measurements) -> dict[str, Any]:
    """Which rows evaluation went over, in which batches, and what other ones give."""
    if data is None or replayer is None:
        return {}
    found: dict[str, Any] = {"source": data.source, "rows": data.rows, "batch_size": data.batch_size}
    if measured.in_default_batches:
        found["by_default"] = {"batch_size": replayer.engine.batch_size, **measured.in_default_batches}
    return found


def trace_shown(trace: Trace) -> dict[str, Any]:
    """The file as it stands in a diagnosis."""
    return {
        "path": shown_path(trace.path),
        "bytes": trace.nbytes,
        "format": trace.format,
        "status": trace.status,
    }


def notice(trace: Trace, problems: Problems) -> str | None:
    """What a reader must know first: an interrupted recording, a limit, what could not be computed, and the notes."""
    told = [*_about_recording(trace)]
    # Where the recording itself ended early, that is the reason for most that is missing.
    missing = problems.errors if told else problems.all
    limited = _limited(trace)
    if limited is not None and not told:
        told.append(limited)
    if missing:
        more = len(missing) - MOST_PROBLEMS if len(missing) > MOST_PROBLEMS else None
        told.append(NOT_REPLAYED(shown=missing[:MOST_PROBLEMS], more=more))
    told += problems.notes
    return sentences(*told) if told else None


def _about_recording(trace: Trace) -> Iterator[Said]:
    error = next(iter(trace.events_of(TracerError)), None)
    so_far = {"epochs": len(trace.epochs), "steps": max(len(trace.steps), trace.updates)}
    if error is not None:
        yield TRACER_ERROR(**so_far, error=str(error.detail.error))
        return
    stopped = next(iter(trace.events_of(TracingStopped)), None)
    if stopped is not None:
        yield TRACING_STOPPED(**so_far, reason=str(stopped.detail.reason).rstrip("."))
    elif not trace.sealed:
        yield INTERRUPTED(**so_far)
    elif trace.status != "complete":
        yield NOT_ENDED(**so_far)


def _limited(trace: Trace) -> Said | None:
    """What is not in the trace because a limit on its size was reached."""
    events = [e.detail for e in trace.events_of(Limit)]
    if not events:
        return None
    reason = str(events[0].reason)
    found = list(dict.fromkeys(e.what for e in events))
    return LIMIT(
        reason=f"{reason[:1].upper()}{reason[1:]}",
        digests=[TIER(what=what) for what in found if what != "steps"],
        steps="steps" in found,
        first=min(trace.unrecorded) if trace.unrecorded else None,
    )


def shown_path(path: Path) -> str:
    """From where the process stands, if it is below, else the name: reports are passed on and need not tell more."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.name
