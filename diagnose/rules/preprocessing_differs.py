"""Rule `preprocessing-differs`: a call of the script's own was given fit's rows with other inputs or labels, by a
simple map (keras#15813, and many questions that begin with "evaluate gives other results than fit")."""

from __future__ import annotations

from typing import Final

from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding
from diagnose.result.text import short
from diagnose.result.texts import Text
from diagnose.rules.common import MATERIAL, not_applicable
from diagnose.rules.facts import Facts

NAME = "preprocessing-differs"

TINY: Final = 1e-6
"""A shift that is no more than what rounding makes of none."""

FAILED = Text(
    "preprocessing-differs.failed",
    "{file}:{line}: {call} was given the {of:select(training=rows that fit trained on|validation=validation rows)} "
    "{inputs}: it {returns:given(returned|predicts with)} {metric} {value:number}; with the "
    "{labels:given(labels|inputs)} as fit had them it is {undone:number}.",
)
PASSED = Text(
    "preprocessing-differs.passed",
    "{calls:plural(The call|All # calls)} of the script over rows of this fit had them as fit had.",
)
SMALL = Text("preprocessing-differs.small", "Rows that were given otherwise than to fit moved no value by much.")
NOT_TOLD = Text(
    "preprocessing-differs.not-told",
    "{file}:{line}: {call} was given rows otherwise than fit had them; what that makes of its value was not computed.",
)
NO_CALL = Text("preprocessing-differs.no-call", "The script made no call over rows that fit trained or validated on.")
ADVICE = Text(
    "preprocessing-differs.advice",
    """\
The model knows inputs only as fit had them. {undone:given(As fit had them, they are:

{undone:python}

Better, prepare|Prepare)} all of them in one place, with what was measured on the training rows, and use it wherever \
the model is given something:

{code:python}

Better still, make it a part of the model, so that it is saved with it: a `Normalization` layer that was adapted to the
training rows, or a `Rescaling` layer.
""",
)
LABELS = Text(
    "preprocessing-differs.labels",
    """\
The labels are read in another way than for fit. Class numbers come from the order of names: give the same list
everywhere (`image_dataset_from_directory(…, class_names=names)`, `flow_from_directory(…, classes=names)`, one
`LabelEncoder` that was fit once), and take labels and inputs from one source, in one order:

{code:python}
""",
)
LABELS_CODE = """\
names = sorted(set(train_names))  # once, and kept with the model
number = {name: i for i, name in enumerate(names)}

y_train = np.array([number[name] for name in train_names])
y_val = np.array([number[name] for name in val_names])"""
ORDER = Text(
    "preprocessing-differs.order",
    """\
Each row needs its own label. What puts the inputs in another order has to put the labels in the same; a data set that
shuffles hands out both, in an order that no array beside it has:

{code:python}
""",
)
ORDER_CODE = """\
order = np.random.permutation(len(x))
x, y = x[order], y[order]  # both of them, or none
model.evaluate(x, y)"""
UNDONE: Final = {
    "channels-reversed": "np.flip({x}, axis=-1)",
    "columns-reversed": "np.flip({x}, axis=-1)",
    "transposed": "np.swapaxes({x}, 1, 2)",
}
"""What takes the inputs of a call to those of fit."""

CODE = """\
mean, std = x_train.mean(axis=0), x_train.std(axis=0) + 1e-7

def prepared(x):
    return (x - mean) / std

model.fit(prepared(x_train), y_train, validation_data=(prepared(x_val), y_val))
model.evaluate(prepared(x_test), y_test)"""


def check(facts: Facts) -> Finding:
    """Fails where undoing the map moves what the call got by a part that matters."""
    known = [c for c in facts.calls if c.rows is not None and c.rows.kind != "other"]
    if not known:
        return not_applicable(NAME, NO_CALL())
    changed = [found for c in known if (found := _changed(c)) is not None]
    untold = next((c for c in known if c.rows and c.rows.kind == "changed" and c.residual is None), None)
    if not changed and untold is not None:
        return not_applicable(NAME, NOT_TOLD(file=untold.file, line=untold.line, call=untold.call))
    if not changed:
        return Finding(NAME, "passed", PASSED(calls=len(known)), {"calls": len(known)}, "")
    call, amount = max(changed, key=lambda x: abs(x[1]))
    value, rows, metric = call.value, call.rows, call.metric
    assert rows is not None and value is not None
    evidence = {"file": call.file, "line": call.line, "rows": rows.count, "map": rows.map, "amount": amount}
    if abs(amount) < MATERIAL * max(abs(value), abs(value - amount)):
        return Finding(NAME, "passed", SMALL(), evidence, "", metric, abs(amount))
    of_labels = (rows.map or "").startswith("labels-")
    title = FAILED(
        file=call.file,
        line=call.line,
        call=call.call,
        of=rows.of,
        inputs=rows.mapped,
        returns=bool(call.returned),
        metric=metric,
        value=value,
        labels=of_labels,
        undone=value - amount,
    )
    if rows.map in ("labels-moved", "labels-in-order"):
        advice = ORDER(code=ORDER_CODE)
    else:
        advice = LABELS(code=LABELS_CODE) if of_labels else ADVICE(undone=_undone(call), code=CODE)
    return Finding(NAME, "failed", title, evidence, advice, metric, abs(amount))


def _undone(call: Call) -> str | None:
    """The call with its inputs as fit had them; None where no one line makes them so."""
    assert call.rows is not None
    x = "x" if call.rows.of == "training" else "x_val"
    made = UNDONE.get(call.rows.map or "", "").replace("{x}", x)
    if call.rows.scale is not None:
        shift = call.rows.shift or 0.0
        more = f" {'-' if shift < 0 else '+'} {short(abs(shift))}" if abs(shift) > TINY * abs(call.rows.scale) else ""
        made = f"{short(call.rows.scale)} * {x}{more}"
    if not made:
        return None
    given = made if call.call.startswith("predict") else f"{made}, {x.replace('x', 'y')}"
    size = "" if call.batch_size is None or call.call.endswith("on_batch") else f", batch_size={call.batch_size}"
    return f"model.{call.call}({given}{size})"


def _changed(call: Call) -> tuple[Call, float] | None:
    """With how much of its value is from other inputs or labels."""
    if call.rows is None or call.rows.kind != "changed" or call.residual is None or call.value is None:
        return None
    return call, next((e.amount for e in call.entries if e.factor == "rows-changed"), 0.0)
