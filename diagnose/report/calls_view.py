"""The script's own calls, a finished line for each. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from diagnose.report.ledger_view import FACTOR, RESIDUAL
from diagnose.result.calls import Call, CallRows
from diagnose.result.text import number, printable
from diagnose.result.texts import Text

LINE = Text(
    "call.line",
    "{file}:{line} {call}{epoch:given( in epoch {epoch})} {returned:given(returned {returned}|"
    "made predictions{scored:given(, {scored} by the labels of these rows|{replayed:given(, of which evaluate "
    "gives {replayed})})})} · {weights} · {rows}"
    "{compared:given( · {compared})}{slips:given( · {slips})}{doubt:given( · {doubt})}",
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
    "other={same:given({count:,}, of which fit had {same:,}|{count:,} that fit did not have)})}"
    "{before:given(, {before:,} of them trained on by an earlier fit)}"
    "{ordered:given(, in order)}{weighted:given(, weighted)}{size:given(, batches of {size})}",
)
SLIPS = Text("call.slips", "beware: {slips:list}")
PAIRS = Text(
    "call.pairs",
    "predictions of shape {predictions} and labels of shape {labels}, compared as they are, meet in all pairs and give "
    "{value}",
)
FIRST = Text("call.first", "argmax of a single column is class 0 for every row and gives {value}")
IN_ORDER = Text("call.in-order", "with the labels in fit's order, which is not that of these rows, it would be {value}")
NO_ROWS = Text("call.no-rows", "rows: not known{why:given( ({why}))}")
COMPARED = Text(
    "call.compared",
    "fit logged {metric} {logged} for epoch {epoch}{causes:given(: {causes:list}|{same:given(, the same)})}",
)
NOT_LOGGED = Text("call.not-logged", "fit logged nothing over such rows")
DOUBT = Text("call.doubt", "replay gives {value}")
AMOUNT = Text("call.amount", "{factor} {amount:signed}")


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call as shown; `reproduced`: whether replay gives its values."""

    text: str
    reproduced: bool | None


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
    elif call.rows is not None and call.rows.kind == "other" and call.rows.same < call.rows.count:
        compared = NOT_LOGGED.say()
    doubted = call.reproduced is False and metric not in call.otherwise
    doubt = DOUBT.say(value=_value(metric, call.replayed.get(metric))) if doubted else None
    text = LINE.say(
        file=printable(call.file),
        line=call.line,
        call=call.call,
        epoch=call.epoch,
        returned=_value(metric, call.returned.get(metric)),
        replayed=_value(metric, call.replayed.get(metric)),
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
    )
    return CallLine(text, call.reproduced)


def _scored(call: Call) -> str | None:
    """The first value of predictions, as their labels give it."""
    if call.scored is None:
        return None
    return next((_value(name, value) for name, value in call.scored.values.items()), None)


def _slips(call: Call) -> str | None:
    """What a slip in scoring predictions would give in the place of that value, where it is another."""
    scored = call.scored
    if scored is None:
        return None
    name, right = next(iter(scored.values.items()))
    shapes = {"predictions": str(tuple(scored.predictions)), "labels": str(tuple(scored.labels))}
    found = [
        text.say(value=_value(name, value), **shapes)
        for text, value in ((PAIRS, scored.pairs), (FIRST, scored.first), (IN_ORDER, scored.in_order))
        if value is not None and number(value) != number(right)
    ]
    return SLIPS.say(slips=found) if found else None


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
        map=rows.mapped,
        of=rows.of or "training",
        before=rows.before or None,
        ordered=rows.ordered,
        weighted=call.weighted,
        size=call.batch_size,
    )


def _largest(call: Call) -> list[_Amount]:
    amounts = [_Amount(e.factor, e.amount) for e in call.entries]
    largest = sorted(amounts, key=lambda e: -abs(e.amount))
    rest = call.residual or 0.0
    gap = sum(e.amount for e in amounts) + rest
    return [*largest, *([_Amount("residual", rest)] if abs(rest) > 1e-6 * max(abs(gap), 1e-6) else [])]


@dataclass(frozen=True, slots=True)
class _Amount:
    factor: str
    amount: float


def _factor(name: str) -> str:
    return RESIDUAL.say() if name == "residual" else FACTOR.say(factor=name, name=printable(name))
