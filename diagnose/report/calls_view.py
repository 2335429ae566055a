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
    "made predictions{replayed:given(, of which evaluate gives {replayed})})} · {weights} · {rows}"
    "{compared:given( · {compared})}{doubt:given( · {doubt})}",
)
VALUE = Text("call.value", "{metric} {value}")
WEIGHTS = Text(
    "call.weights",
    "weights: {version:given(version {version}{epoch:given(, the end of epoch {epoch})}"
    "{after:given(, as after fit|, not those after fit)}|{after:given(those after fit|no version of this fit"
    "{changed:given( ({changed:plural(# variable is|# variables are)} not as after fit))})})}"
    "{other:given(, in another model object)}{compiled:given(, compiled otherwise than in the fit)}",
)
ROWS = Text(
    "call.rows",
    "rows: {kind:select(training={whole:given(the {known:,} fit trained on|{count:,} of the {known:,} fit trained on)}|"
    "validation={whole:given(the {known:,} validation rows|{count:,} of the {known:,} validation rows)}|"
    "changed={whole:given(the {known:,}|{count:,} of the {known:,})} {of:select(training=fit trained on|"
    "validation=validation rows)}, but {map}|"
    "other={same:given({count:,}, of which fit had {same:,}|{count:,} that fit did not have)})}"
    "{ordered:given(, in order)}{weighted:given(, weighted)}{size:given(, batches of {size})}",
)
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
    metric = _metric(call)
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
    doubt = DOUBT.say(value=_value(metric, call.replayed.get(metric))) if call.reproduced is False else None
    text = LINE.say(
        file=printable(call.file),
        line=call.line,
        call=call.call,
        epoch=call.epoch,
        returned=_value(metric, call.returned.get(metric)),
        replayed=_value(metric, call.replayed.get(metric)),
        weights=WEIGHTS.say(
            version=call.version,
            epoch=call.ends_epoch,
            after=call.after_fit,
            changed=call.changed or None,
            other=not call.same_model,
            compiled=call.same_compile is False,
        ),
        rows=_rows(call, call.rows),
        compared=compared,
        doubt=doubt,
    )
    return CallLine(text, call.reproduced)


def _metric(call: Call) -> str:
    """The one a line is about: that of the comparison, else one like an accuracy, else the first."""
    if call.compared_with is not None:
        return call.compared_with.metric.removeprefix("val_")
    names = list(call.returned or call.replayed)
    return next((name for name in names if "acc" in name), names[0] if names else "")


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
