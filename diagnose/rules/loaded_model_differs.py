"""Rule `loaded-model-differs`: a model that was loaded or built again holds a part of this fit's weights only
(keras#17394, keras#13505: `load_weights` with `skip_mismatch` or `by_name` passes over what does not fit), or what it
calls by a metric's name, compiled again, is another metric (tensorflow#42459)."""

from __future__ import annotations

from collections.abc import Sequence

from diagnose.decide.better import HIGHER_FUNCTIONS
from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import FIRST_NAMES, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.size import apart

NAME = "loaded-model-differs"

SHOWN = 3
"""Variables named in the title."""

FAILED = Text(
    "loaded-model-differs.failed",
    "{file}:{line}: the model that {call} used holds {known} of this fit's {variables} variables as training made them "
    "({loaded}){differ:given(; {differ:plural(# is|# are)} there with other contents ({differing}))}"
    "{lacks:given(; {lacks:plural(# is|# are)} not in it, in their place and shape ({absent}))}"
    "{own:given(; it has {own:plural(# other|# others)} of its own ({owned}))}.",
)
PASSED = Text(
    "loaded-model-differs.passed",
    "{calls:plural(The model|The models)} loaded, built or compiled again that the script used held a version of this "
    "fit whole, with the metrics that fit had.",
)
COMPILED = Text(
    "loaded-model-differs.compiled",
    "{file}:{line}: {call} returned {metric} {value:number}, which {loaded:given(this other model|the model, compiled "
    "again,)} computes by {here}; fit logged {metric} by {fit}, which gives {by_fit:number} for the same weights and "
    "rows.",
)
COMPILE = Text(
    "loaded-model-differs.compile",
    """\
A word such as "accuracy" is resolved anew whenever a model is compiled or loaded, by its loss and the shapes it meets
first. Name the metric itself, in each place the same:

{code:python}
""",
)
NO_CALL = Text(
    "loaded-model-differs.no-call",
    "The script used no other model that holds weights of this fit, and compiled none otherwise.",
)
ADVICE = Text(
    "loaded-model-differs.advice",
    """\
Something was loaded in part: `load_weights` with `skip_mismatch=True` or `by_name=True` passes over each layer that
does not fit, and leaves its fresh weights. Save and load the whole model:

{whole:python}

Or build it as it was built for fit, and load all of it; then what does not fit raises an error:

{weights:python}
""",
)
WHOLE = """\
model.save("model.keras")
loaded = keras.models.load_model("model.keras")
loaded.evaluate(x_val, y_val)"""
WEIGHTS = """\
model.save_weights("model.weights.h5")
loaded = build_model()
loaded.load_weights("model.weights.h5")  # without skip_mismatch and by_name"""


def check(facts: Facts) -> Finding:
    """Fails where another model object has some variables as training made them, and others as it never did; then
    where what the script calls by a name in the logs is computed by something else than in the fit, and is not the
    same."""
    whole = [c for c in facts.calls if not c.same_model and c.version is not None]
    parts = [c for c in facts.calls if not c.same_model and c.version is None and c.loaded and c.strange]
    again = [c for c in facts.calls if c.otherwise]
    if parts:
        return _parts(facts, parts[-1])
    found = [(c, value) for c in again if (value := _by_fit(c)) is not None]
    far = [apart(facts.trace, c.metric, _rows(c), c.value or 0.0, value) for c, value in found]
    if any(far):
        return _compiled(*found[far.index(max(far))])
    if not whole and not again:
        return not_applicable(NAME, NO_CALL())
    calls = len({id(c) for c in [*whole, *again]})
    return Finding(NAME, "passed", PASSED(calls=calls), {"calls": calls}, "")


def _parts(facts: Facts, call: Call) -> Finding:
    variables = sum(v.group in ("trainable", "non_trainable") for v in facts.trace.header.variables)
    names = call.strange
    others = () if call.differing or call.absent else names
    title = FAILED(
        file=call.file,
        line=call.line,
        call=call.call,
        known=len(call.loaded),
        variables=variables,
        loaded=_first(call.loaded),
        differ=len(call.differing) or None,
        differing=_first(call.differing),
        lacks=len(call.absent) or None,
        absent=_first(call.absent),
        own=len(others) or None,
        owned=_first(others),
    )
    parts = {"loaded": list(call.loaded), "differing": list(call.differing), "absent": list(call.absent)}
    evidence = {"file": call.file, "line": call.line, "names": list(names), **parts}
    return Finding(NAME, "failed", title, evidence, ADVICE(whole=WHOLE, weights=WEIGHTS))


def _first(names: Sequence[str]) -> Said:
    return FIRST_NAMES(names=list(names[:SHOWN]), more=len(names) - SHOWN if len(names) > SHOWN else None)


def _rows(call: Call) -> int | None:
    return None if call.rows is None else call.rows.count


def _by_fit(call: Call) -> float | None:
    """What the value would have been by what computed it in the fit; None where that is not known."""
    if call.metric not in call.otherwise or call.otherwise[call.metric].here is None or not call.returned:
        return None
    return call.replayed.get(call.metric)


def _compiled(call: Call, by_fit: float) -> Finding:
    other, value = call.otherwise[call.metric], call.value or 0.0
    title = COMPILED(
        file=call.file,
        line=call.line,
        call=call.call,
        metric=call.metric,
        value=value,
        here=brief(other.here, other.fit),
        fit=brief(other.fit, other.here),
        by_fit=by_fit,
        loaded=not call.same_model,
    )
    evidence = {"file": call.file, "line": call.line, "here": other.here, "fit": other.fit, "amount": value - by_fit}
    amount = abs(value - by_fit)
    advice = COMPILE(code=_code(call.metric, other.fit or ""))
    return Finding(NAME, "failed", title, evidence, advice, call.metric, amount, severity="notable")


def _code(metric: str, fit: str) -> str:
    """A `compile` that has what the fit had for this name."""
    name = fit.partition("(")[0]
    if metric == "loss":
        return f'model.compile(model.optimizer, loss="{name}")'
    made = f'"{name}"'
    if name in HIGHER_FUNCTIONS:
        made = f'keras.metrics.{name.title().replace("_", "")}(name="{metric}")'
    elif name[:1].isupper():
        made = f'{name}(name="{metric}")'
    return f"model.compile(model.optimizer, model.loss, metrics=[{made}])"


def brief(text: str | None, other: str | None) -> str | None:
    """The name of what computes a value; with its settings where the names are the same."""
    if text is None or other is None:
        return text
    name = text.partition("(")[0]
    return name if name != other.partition("(")[0] else text
