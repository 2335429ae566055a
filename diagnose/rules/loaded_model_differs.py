"""Rule `loaded-model-differs`: a model that was loaded or built again holds a part of this fit's weights only
(keras#17394, keras#13505: `load_weights` with `skip_mismatch` or `by_name` passes over what does not fit)."""

from __future__ import annotations

from diagnose.result.calls import Call
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import FIRST_NAMES, not_applicable
from diagnose.rules.facts import Facts

NAME = "loaded-model-differs"

SHOWN = 3
"""Variables named in the title."""

FAILED = Text(
    "loaded-model-differs.failed",
    "{file}:{line}: the model that {call} used holds {known} of this fit's {variables} variables; {names} "
    "{count:plural(has|have)} contents that no version of training had.",
)
PASSED = Text(
    "loaded-model-differs.passed",
    "{calls:plural(The model|The models)} loaded or built again that the script used held a version of this fit whole.",
)
NO_CALL = Text("loaded-model-differs.no-call", "The script used no other model that holds weights of this fit.")
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
    """Fails where another model object has some variables as training made them, and others as it never did."""
    variables = sum(v.group in ("trainable", "non_trainable") for v in facts.trace.header.variables)
    whole = [c for c in facts.calls if not c.same_model and c.version is not None]
    parts = [c for c in facts.calls if not c.same_model and c.version is None and 0 < len(c.strange) < variables]
    if not whole and not parts:
        return not_applicable(NAME, NO_CALL())
    if not parts:
        return Finding(NAME, "passed", PASSED(calls=len(whole)), {"calls": len(whole)}, "")
    call: Call = parts[-1]
    names = call.strange
    more = len(names) - SHOWN if len(names) > SHOWN else None
    title = FAILED(
        file=call.file,
        line=call.line,
        call=call.call,
        known=variables - len(names),
        variables=variables,
        names=FIRST_NAMES(names=list(names[:SHOWN]), more=more),
        count=len(names),
    )
    evidence = {"file": call.file, "line": call.line, "names": list(names)}
    return Finding(NAME, "failed", title, evidence, ADVICE(whole=WHOLE, weights=WEIGHTS))
