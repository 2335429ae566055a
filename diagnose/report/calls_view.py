"""The script's own calls, a finished line for each. Decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diagnose.report.ledger_view import FACTOR, RESIDUAL
from diagnose.result.calls import Call, CallLedger, CallRows
from diagnose.result.text import number, printable
from diagnose.result.texts import Text

LINE = Text(
    "call.line",
    "{file}:{line} {call}{epoch:given( in epoch {epoch})} {returned:given(returned {returned}|"
    "made predictions{scored:given(, {scored} by the labels of these rows)}{replayed:given(, of which evaluate gives "
    "{replayed})})} · {weights} · {rows}"
    "{compared:given( · {compared})}{slips:given( · {slips:list})}{doubt:given( · {doubt})}"
    "{others:given( · {others:list})}",
)
VALUE = Text("call.value", "{metric} {value}")
WEIGHTS = Text(
    "call.weights",
    "weights: {version:given(version {version}{epoch:given(, the end of epoch {epoch})}"
    "{after:given(, as after fit|, not those after fit)}|{after:given(those after fit|{loaded:given({loaded} of "
    "{variables:plural(# variable|# variables)} as training made them{differing:given(, {differing} with other "
    "contents)}{absent:given(, {absent} not in it)}|no version of this fit"
    "{changed:given( ({changed:plural(# variable is|# variables are)} not as after fit))})})})}"
    "{other:given(, in another model object)}{compiled:given(, compiled otherwise than in the fit)}",
)
ROWS = Text(
    "call.rows",
    "rows: {kind:select(training={whole:given(the {known:,} fit trained on|{count:,} of the {known:,} fit trained on)}|"
    "validation={whole:given(the {known:,} validation rows|{count:,} of the {known:,} validation rows)}|"
    "changed={whole:given(the {known:,}|{count:,} of the {known:,})} {of:select(training=fit trained on|"
    "validation=validation rows)}, but {map}|"
    "other={mixed:given({count:,}, {mixed:,} that fit trained on and {validated:,} of its validation rows|"
    "{same:given({count:,}, of which fit had {same:,}|{count:,} that fit did not have)})})}"
    "{before:given(, {before:,} of them trained on by an earlier fit)}"
    "{ordered:given(, in order)}{weighted:given(, weighted)}{size:given(, batches of {size})}",
)
PAIRS = Text(
    "call.pairs",
    "predictions of shape {predictions} and labels of shape {labels}, compared as they are{line:given( (line {line}), "
    "meet|, would meet)} in all pairs and give {value}",
)
FIRST = Text(
    "call.first", "argmax of a single column{line:given( (line {line}) is| would be)} class 0 for every row: {value}"
)
IN_ORDER = Text(
    "call.in-order",
    "with the labels in fit's order{line:given( (line {line}))}, which is not that of these rows, it would be {value}",
)
STEPS = Text(
    "call.steps",
    "{left_out:,} of {count:,} steps are {by:select(mask=masked|padding=zeros at an end of their row)}: {real} without "
    "them, {every} with them{counted:given(, as evaluate counts)}",
)
LOG_LOSS = Text(
    "call.log-loss",
    "a plain log loss of them{line:given( (line {line}))} is {plain}; the compiled loss is {smoothing:given(of labels "
    "smoothed by {smoothing}{penalties:given( and )})}{penalties:given(with penalties of {penalties})}, {compiled}",
)
NO_ROWS = Text("call.no-rows", "rows: not known{why:given( ({why}))}")
COMPARED = Text(
    "call.compared",
    "fit logged {metric} {logged} for epoch {epoch}{causes:given(: {causes:list}|{same:given(, the same)})}",
)
NOT_LOGGED = Text("call.not-logged", "fit logged nothing over such rows")
DOUBT = Text("call.doubt", "replay gives {value}")
OTHER = Text("call.other", "{value}, fit logged {metric} {logged}{causes:given(: {causes:list})}")
AMOUNT = Text("call.amount", "{factor} {amount:signed}")


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call as shown; `reproduced`: whether replay gives its values. `site`: where and what is called, of a call in
    an epoch."""

    text: str
    reproduced: bool | None
    site: str | None = None


def call_line(call: Call) -> CallLine:
    """One line."""
    metric = call.metric
    compared = None
    if call.compared_with is not None:
        causes = [AMOUNT.say(factor=_factor(e.factor), amount=e.amount) for e in _largest(call)]
        logged = number(call.compared_with.logged)
        compared = COMPARED.say(
            metric=printable(call.compared_with.metric),
            logged=logged,
            epoch=call.compared_with.epoch,
            causes=causes,
            same=call.residual is not None,
        )
    elif call.rows is not None and call.rows.kind == "other":
        compared = NOT_LOGGED.say()
    doubt = DOUBT.say(value=_doubted(call, metric)) if call.reproduced is False and _doubted(call, metric) else None
    text = LINE.say(
        file=printable(call.file),
        line=call.line,
        call=call.call,
        epoch=call.epoch,
        returned=_value(metric, call.returned.get(metric)),
        replayed=_evaluated(call),
        scored=_scored(call),
        slips=_slips(call),
        weights=WEIGHTS.say(
            version=call.version,
            epoch=call.ends_epoch,
            after=call.after_fit,
            loaded=None if call.same_model else len(call.loaded) or None,
            variables=len(call.loaded) + len(call.differing) + len(call.absent),
            differing=len(call.differing) or None,
            absent=len(call.absent) or None,
            changed=call.changed or None,
            other=not call.same_model,
            compiled=call.same_compile is False,
        ),
        rows=_rows(call, call.rows),
        compared=compared,
        doubt=doubt,
        others=[_other(other) for other in call.others if _differs(other)] or None if call.returned else None,
    )
    site = None if call.epoch is None else f"{printable(call.file)}:{call.line} {call.call}"
    return CallLine(text, call.reproduced, site)


def _doubted(call: Call, metric: str) -> str | None:
    """A value that replay gives otherwise than the call, that of the line before others; None: none, as shown."""
    names = [n for n in (metric, *call.returned) if n in call.replayed and n not in call.otherwise]
    shown = {n: (number(call.replayed[n]), number(call.returned.get(n, math.nan))) for n in names}
    return next((_value(n, call.replayed[n]) for n, (again, given) in shown.items() if again != given), None)


def _scored(call: Call) -> str | None:
    """The first value of predictions, as their labels give it."""
    if call.scored is None:
        return None
    return next((_value(name, value) for name, value in call.scored.values.items()), None)


def _evaluated(call: Call) -> str | None:
    """What evaluate gives for predictions, where that is not the value beside it."""
    value, scored = call.replayed.get(call.metric), {} if call.scored is None else call.scored.values
    beside = next(iter(scored.values()), None)
    same = value is not None and beside is not None and number(value) == number(beside)
    return None if same else _value(call.metric, value)


def _slips(call: Call) -> list[str] | None:
    """What other ways of scoring predictions give in the place of that value: those that lines of the script show, or,
    where its source does not show how they are scored, those that are known."""
    scored = call.scored
    if scored is None:
        return None
    name, right = next(iter(scored.values.items()))
    shapes = {"predictions": str(tuple(scored.predictions)), "labels": str(tuple(scored.labels))}
    at: dict[str, int] = {line.does: line.line for line in reversed(scored.lines or ())}
    shown = {"pairs": (PAIRS, scored.pairs), "first": (FIRST, scored.first)}
    found = [
        text.say(value=_value(name, value), line=at.get(does), **shapes)
        for does, (text, value) in shown.items()
        if value is not None and number(value) != number(right) and (scored.lines is None or does in at)
    ]
    if scored.in_order is not None and number(scored.in_order) != number(right):
        found.append(IN_ORDER.say(value=_value(name, scored.in_order), line=at.get("in-order")))
    steps, loss = scored.steps, scored.log_loss
    if steps is not None and number(steps.every) != number(steps.real):
        every, real = (_value(name, value) for value in (steps.every, steps.real))
        counts = {"left_out": steps.left_out, "count": steps.count, "by": steps.by}
        found.append(STEPS.say(**counts, real=real, every=every, counted=steps.counted or None))
    if loss is not None:
        smoothing = f"{loss.smoothing:g}" if loss.smoothing else None
        penalties = number(loss.penalties) if loss.penalties else None
        values = {"plain": number(loss.plain), "compiled": number(loss.compiled)}
        found.append(LOG_LOSS.say(**values, smoothing=smoothing, penalties=penalties, line=at.get("log-loss")))
    return found or None


def _value(metric: str, value: float | None) -> str | None:
    return None if value is None else VALUE.say(metric=printable(metric), value=number(value))


def _rows(call: Call, rows: CallRows | None) -> str:
    if rows is None:
        return NO_ROWS.say(why=None if call.why is None else printable(call.why))
    return ROWS.say(
        kind=rows.kind,
        whole=rows.count == rows.known,
        count=rows.count,
        known=rows.known or 0,
        same=rows.same or None,
        mixed=rows.count - rows.validated if rows.validated and rows.same == rows.count else None,
        validated=rows.validated,
        map=rows.mapped,
        of=rows.of or "training",
        before=rows.before or None,
        ordered=rows.ordered,
        weighted=call.weighted,
        size=call.batch_size,
    )


def _differs(other: CallLedger) -> bool:
    return number(other.value) != number(other.compared_with.logged)


def _other(other: CallLedger) -> str:
    metric = other.compared_with.metric
    causes = [AMOUNT.say(factor=_factor(e.factor), amount=e.amount) for e in _largest(other)]
    value, logged = _value(metric.removeprefix("val_"), other.value), number(other.compared_with.logged)
    return OTHER.say(value=value, metric=printable(metric), logged=logged, causes=causes or None)


def _largest(call: Call | CallLedger) -> list[_Amount]:
    amounts = [_Amount(e.factor, e.amount) for e in call.entries]
    largest = sorted(amounts, key=lambda e: -abs(e.amount))
    rest = call.residual or 0.0
    logged = 0.0 if call.compared_with is None else abs(call.compared_with.logged)
    return [*largest, *([_Amount("residual", rest)] if abs(rest) > 1e-6 * max(logged, 1e-3) else [])]


@dataclass(frozen=True, slots=True)
class _Amount:
    factor: str
    amount: float


def _factor(name: str) -> str:
    return RESIDUAL.say() if name == "residual" else FACTOR.say(factor=name, name=printable(name))
