"""Rule `file-overwritten`: a later save, of a later fit or another callback, put a worse model in the place of a better
one (a new ModelCheckpoint has no best to compare with)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from diagnose.decide.better import Mode, believed
from diagnose.decide.callbacks import Callback, callbacks
from diagnose.decide.clock import metric_of
from diagnose.decide.watched import watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import not_applicable
from diagnose.rules.earlier_fit import continues
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_with, numbered, own_call, renamed
from diagnose.rules.size import alike
from diagnose.tracefile.events import FileReplaced, FileSaved
from diagnose.tracefile.model import Event

NAME = "file-overwritten"

NO_FILE = Text("file-overwritten.no-file", "No callback was seen to write a file.")
NO_OTHER = Text(
    "file-overwritten.no-other",
    "No file was written in the place of one that an earlier fit or another callback wrote.",
)
OTHER_MODEL = Text(
    "file-overwritten.other-model",
    "'{file}' was written in the place of another model's, of an earlier fit ({trace}), with which its values are not "
    "compared: it may have been done with, and other rows may have been validated.",
)
BETTER = Text(
    "file-overwritten.better",
    "'{file}' was written in the place of an earlier one, and what it holds is no worse: {monitor} {now:number} (epoch "
    "{epoch}) after {then:number}.",
)
FAILED = Text(
    "file-overwritten.failed",
    "'{file}' held the model of epoch {then_epoch} of {trace:given(an earlier fit ({trace})|this fit)}, with {monitor} "
    "{then:number}; {callback} wrote a worse one over it, that of epoch {epoch}, with {now:number}. The better one is "
    "gone.",
)
ADVICE = Text(
    "file-overwritten.advice",
    "{across:given(A new ModelCheckpoint knows no earlier best and saves its first epoch whatever it is worth. Give "
    "each fit a file of its own, or tell the callback what to improve on|Give each callback a file of its own)}:\n\n"
    "{code:python}\n",
)


def check(facts: Facts) -> Finding:
    """Fails where the last model written to a file is worse, by its monitored value, than one that stood there before
    and that another fit or callback had written."""
    trace = facts.trace
    if not trace.events_of(FileSaved):
        return not_applicable(NAME, NO_FILE())
    last = {event.detail.path: event for event in trace.events_of(FileSaved)}
    findings = [finding for event in last.values() for finding in _judged(facts, event)]
    if not findings:
        return not_applicable(NAME, NO_OTHER())
    failed = [f for f in findings if f.status == "failed"]
    return max(failed, key=lambda f: f.effect or 0.0) if failed else findings[0]


def _judged(facts: Facts, event: Event[FileSaved]) -> Iterator[Finding]:
    """What the last save to a file comes to beside each that stood there."""
    trace, listed = facts.trace, callbacks(facts.trace)
    now = _logs(facts, event.epoch)
    if event.detail.place >= len(listed) or now is None:
        return
    own = listed[event.detail.place]
    for earlier in trace.events_of(FileReplaced):
        if earlier.detail.path == event.detail.path and not continues(facts):
            file = PurePath(event.detail.path).name
            yield not_applicable(NAME, OTHER_MODEL(file=file, trace=earlier.detail.trace), {"file": file})
        elif earlier.detail.path == event.detail.path:
            yield from _compared(facts, event, own, own, now, earlier.detail.logs, earlier.detail.epoch,
                                 earlier.detail.trace)  # fmt: skip
    for before in trace.events_of(FileSaved):
        same = before.detail.path == event.detail.path and before.seq < event.seq
        if same and before.detail.place != event.detail.place and before.detail.place < len(listed):
            chosen = listed[before.detail.place]
            then = _logs(facts, before.epoch)
            if then is not None and chosen.settings.get("save_best_only"):
                yield from _compared(facts, event, own, chosen, now, then, before.epoch or 0, None)


def _compared(
    facts: Facts,
    event: Event[FileSaved],
    own: Callback,
    chosen: Callback,
    now: dict[str, Any],
    then: dict[str, Any],
    then_epoch: int,
    trace: str | None,
) -> Iterator[Finding]:
    """By the value that the callback `chosen` watches, where both epochs logged it and it is known which way is
    better."""
    monitor = chosen.settings.get("monitor")
    if not isinstance(monitor, str):
        return
    mode, value, old = _direction(facts, chosen, monitor), now.get(monitor), then.get(monitor)
    if mode is None or not isinstance(value, (int, float)) or not isinstance(old, (int, float)):
        return
    file = PurePath(event.detail.path).name
    said = {"file": file, "monitor": monitor, "now": float(value), "then": float(old), "epoch": event.epoch}
    evidence = {
        "file": file,
        "callback": own.name,
        "monitor": monitor,
        "epoch": event.epoch,
        "saved_value": value,
        "replaced_epoch": then_epoch,
        "replaced_value": old,
        "replaced_trace": trace,
    }
    if not (value > old if mode == "min" else value < old):
        yield Finding(NAME, "passed", BETTER(**said), evidence, "", monitor, 0.0)
        return
    if (same := alike(facts, monitor, float(value), float(old))) is not None:
        yield Finding(NAME, "passed", same, evidence, "", monitor, abs(value - old))
        return
    title = FAILED(**said, then_epoch=then_epoch, trace=trace, callback=own.name)
    advice = _advice(facts, own, chosen, trace is not None)
    yield Finding(NAME, "failed", title, evidence, advice, monitor, abs(value - old))


def _direction(facts: Facts, chosen: Callback, monitor: str) -> Mode | None:
    told = chosen.settings.get("mode")
    return told if told in ("min", "max") else believed(facts.trace, metric_of(facts.trace, monitor))


def _advice(facts: Facts, own: Callback, chosen: Callback, across: bool) -> Said:
    """The user's own calls, each with a file name of its own."""
    w = next((w for w in watchers(facts.trace) if w.place == chosen.place), None)
    file = own.settings.get("filepath")
    if across:
        name = numbered(file, "number")
        call = call_with("checkpoint", filepath=name) if w is None else own_call(w, filepath=name)
        code = f"""\
number = 2  # of this fit, another one for each
best = {call}
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=[best])"""
    elif "ModelCheckpoint" not in own.family:
        other_name = renamed(chosen.settings.get("filepath"), "best")
        best = call_with("checkpoint", filepath=other_name) if w is None else own_call(w, filepath=other_name)
        code = f"best = {best}  # beside your {own.name}"
    else:
        best = call_with("checkpoint") if w is None else own_call(w)
        other = {**own.settings, "filepath": renamed(file, "last")}
        code = f"""\
callbacks = [
    {best},
    {call_with("checkpoint", **other)},
]
model.fit(x, y, epochs=..., validation_data=(x_val, y_val), callbacks=callbacks)"""
    return ADVICE(across=across, code=code)


def _logs(facts: Facts, epoch: int | None) -> dict[str, Any] | None:
    return next((dict(e.logs) for e in facts.epochs if e.epoch == epoch), None)
