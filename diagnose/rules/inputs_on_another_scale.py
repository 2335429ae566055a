"""Rule `inputs-on-another-scale`: a call was given new rows whose inputs are on another scale than those of fit: a
rescaling, or a standardization, that fit's data went through was left out (keras#10014, and many questions)."""

from __future__ import annotations

from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts

NAME = "inputs-on-another-scale"

METRIC = "loss"

FAILED = Text(
    "inputs-on-another-scale.failed",
    "{file}:{line}: {call} was given inputs from {low:number} to {high:number}, where fit had inputs from "
    "{fit_low:number} to {fit_high:number}: its loss is {value:number}. With {scale:given(inputs {scale:.6g} times "
    "these, plus {shift:.6g}|each column brought to the mean and spread of fit's)}, it is {undone:number}.",
)
NO_BETTER = Text(
    "inputs-on-another-scale.no-better",
    "{file}:{line}: {call} was given inputs from {low:number} to {high:number}, where fit had inputs from "
    "{fit_low:number} to {fit_high:number}; on fit's scale its loss is no nearer to what fit logged.",
)
NO_CALL = Text(
    "inputs-on-another-scale.no-call", "The script made no call over new rows with inputs on another scale than fit's."
)
ADVICE = Text(
    "inputs-on-another-scale.advice",
    """\
The model knows inputs only on the scale that fit had them on. Give what is scored later the same preparation:

{code:python}

Better still, make it a part of the model, so that it is saved with it: a `Rescaling` layer, or a `Normalization` layer
that was adapted to the training rows.
""",
)
CODE_SCALE = "x_test = {scale:.9g} * x_test + {shift:.9g}\nmodel.evaluate(x_test, y_test)"
CODE_COLUMNS = """\
mean, std = x_train.mean(axis=0), x_train.std(axis=0)  # measured once, on the rows as they came, before fit
x_test = (x_test - mean) / std
model.evaluate(x_test, y_test)"""


def check(facts: Facts) -> Finding:
    """Fails where on fit's scale the loss is less than half as far from what fit logged last."""
    far = [c for c in facts.calls if c.scale is not None and c.epoch is None and METRIC in c.replayed]
    logged = facts.epochs[-1].logs if facts.epochs else {}
    value = logged.get(f"val_{METRIC}", logged.get(METRIC))
    if not far or not isinstance(value, (int, float)):
        return not_applicable(NAME, NO_CALL())
    judged = [(_nearer(call, float(value)), call) for call in far]
    nearer, call = max(judged, key=lambda x: x[0])
    scale = call.scale
    assert scale is not None
    said = {
        "file": call.file,
        "line": call.line,
        "call": call.call,
        "low": scale.low,
        "high": scale.high,
        "fit_low": scale.fit_low,
        "fit_high": scale.fit_high,
    }
    there, undone = call.replayed[METRIC], scale.values.get(METRIC)
    evidence = {**said, "value": there, "undone": undone}
    if nearer < 2.0 or undone is None:
        return Finding(NAME, "passed", NO_BETTER(**said), evidence, "", METRIC)
    title = FAILED(**said, value=there, undone=undone, scale=scale.scale, shift=scale.shift)
    code = CODE_COLUMNS if scale.scale is None else CODE_SCALE.format(scale=scale.scale, shift=scale.shift)
    return Finding(NAME, "failed", title, evidence, ADVICE(code=code), METRIC, abs(there - undone))


def _nearer(call: Call, logged: float) -> float:
    """How many times as far from the logged value the call's own is."""
    undone = None if call.scale is None else call.scale.values.get(METRIC)
    return 0.0 if undone is None else abs(call.replayed[METRIC] - logged) / max(abs(undone - logged), 1e-12)
