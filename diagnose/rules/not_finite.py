"""Rule `not-finite`: weights or logged values became NaN or infinite, and where that began (keras#2134, tf#38416)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.not_finite import first_batch, first_logged, first_weights
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text, sentences
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts

NAME = "not-finite"

FINITE = Text("not-finite.finite", "All logged values are finite numbers.")
FAILED = Text(
    "not-finite.failed",
    "{first}{batch:given(; {batch}|; no batch of training was)}. {epochs} of {of:plural(# epoch|# epochs)} logged such "
    "a value.",
)
WEIGHTS = Text(
    "not-finite.weights",
    "{weights:select(since=The weights hold NaN or infinity from version {version} on{epoch:given( (epoch {epoch}))}, "
    "in {variables:list}|none=The weights stayed finite|unknown=Whether the weights are is not recorded)}.",
)
ADVICE_STOP = Text(
    "not-finite.advice-stop",
    """\
Nothing that was logged from there on says anything. Stop where it begins, and look at that batch: its rows, the \
learning rate, divisions and logarithms in the loss:

{code:python}
""",
)
ADVICE_ROWS = Text(
    "not-finite.advice-rows",
    """\
Every batch of training gave a number, so look at the rows that only validation has:

{code:python}
""",
)
CODE_STOP = """\
finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)      # rows without a number, the same for y
print(np.flatnonzero(~finite))
model.fit(x, y, epochs=..., callbacks=[keras.callbacks.TerminateOnNaN()])"""
CODE_ROWS = """\
for name, array in (("x_val", x_val), ("y_val", y_val)):
    finite = np.isfinite(np.asarray(array, "float64")).reshape(len(array), -1).all(axis=1)
    print(name, "rows without a number:", np.flatnonzero(~finite))"""


def check(facts: Facts) -> Finding:
    """Fails where a value that is NaN or infinite was logged, or the weights after an epoch are such."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    logged, batch, weights = first_logged(facts.trace), first_batch(facts.trace), first_weights(facts.trace)
    began = logged or batch
    if began is None and (weights is None or weights.version is None):
        return Finding(NAME, "passed", FINITE(), {"epochs": len(facts.epochs)}, "")
    bad = [e.epoch for e in facts.epochs if first_logged(facts.trace, (e,)) is not None]
    evidence: dict[str, Any] = {
        "first_logged": None if logged is None else logged.evidence(),
        "first_batch": None if batch is None else batch.evidence(),
        "first_weights": None if weights is None else weights.evidence(),
        "logged_in_epochs": bad[:40],
    }
    known = "unknown" if weights is None else "none" if weights.version is None else "since"
    said = WEIGHTS(
        weights=known,
        version=None if weights is None else weights.version,
        epoch=None if weights is None else weights.epoch,
        variables=[] if weights is None else list(weights.variables),
    )
    first = (
        []
        if began is None
        else [
            FAILED(
                first=began.text,
                batch=None if batch is None else batch.text,
                epochs=len(bad),
                of=len(facts.epochs),
            )
        ]
    )
    only_validation = batch is None and known == "none"
    advice = ADVICE_ROWS(code=CODE_ROWS) if only_validation else ADVICE_STOP(code=CODE_STOP)
    return Finding(NAME, "failed", sentences(*first, said), evidence, advice)
