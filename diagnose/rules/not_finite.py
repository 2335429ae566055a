"""Rule `not-finite`: weights or logged values became NaN or infinite, and where that began (keras#2134, tf#38416)."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from diagnose.decide.callbacks import callbacks
from diagnose.decide.not_finite import bad_variables, first_batch, first_logged, first_weights, number
from diagnose.decide.watched import watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.measurements import Origin
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile.events import LearningRate

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
ORIGIN = Text(
    "not-finite.origin",
    "It began {cause:select(weights=in weights that {name:given({name} wrote|were there)} before that step|"
    "rows={batch:given(in the data|in the validation data)}: {rows} of x {plural:given(are|is)} not finite|"
    "labels={batch:given(in the labels|in the validation labels)}: {rows} of y {plural:given(are|is)} not finite|"
    "sample-weights=in the {batch:given(|validation )}sample weights: {rows} {plural:given(are|is)} not finite|"
    "layer=in {name:given(layer '{name}' ({kind})|the model)}, whose output is not finite{rows:given( for {rows})} "
    "though its inputs and the weights are|"
    "loss=in the loss, which is not finite{rows:given( for {rows})} though the outputs of the model are"
    "{zeros:given(; these hold exact zeros)}|"
    "metric=in the metric {name} alone: the model's outputs and its loss were finite|"
    "update=in an update: rows, weights, outputs and loss of that step were finite, what it made of the weights is "
    "not)}"
    "{grown:given(. The largest weight had grown to {grown:number} by then, from {initially:number} at the beginning: "
    "training diverged)}.",
)
ROWS = Text(
    "not-finite.rows",
    "{plural:given(rows|row)} {rows:list}{more:given(, …)} (from 0{given:given( in the arrays given to fit|"
    "{batch:given( in the batch)})})",
)
PLATEAU = Text(
    "not-finite.plateau",
    "{callback} lowered the learning rate {times:plural(# time|# times)} while '{monitor}' was so: to it, NaN is no "
    "improvement.",
)
TERMINATE = Text(
    "not-finite.terminate", "{callback} did not stop: it looks at the loss of training batches alone, which was finite."
)
GROWN = 100.0
"""Times the largest weight of the beginning, from which on one is said to have grown."""
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
    origin = facts.measured.origin
    evidence["origin"] = None if origin is None else asdict(origin)
    told = [] if origin is None else [said_of(origin)]
    unseen = weights is not None and weights.version is not None and _hidden(facts)
    title = sentences(*first, said, *told, *_callbacks(facts, None if logged is None else logged.epoch))
    return Finding(NAME, "failed", title, evidence, advice, role="spoils-values" if unseen else None)


def _hidden(facts: Facts) -> bool:
    """Whether the model is left with such weights and its last logs do not show it."""
    final = facts.trace.final
    kept = None if final is None else facts.trace.index.kept(final)
    held = kept is not None and bool(bad_variables(facts.trace, kept))
    return held and first_logged(facts.trace, facts.epochs[-1:]) is None


def _callbacks(facts: Facts, since: int | None) -> list[Said]:
    """What callbacks of Keras made of such values."""
    found = []
    for w in watchers(facts.trace):
        bad = {e.epoch for e in facts.epochs if (v := number(e, w.monitor)) is not None and math.isnan(v)}
        events = facts.trace.events_of(LearningRate) if w.kind == "plateau" else []
        times = sum(e.detail.callback == w.callback and e.epoch in bad for e in events)
        if times:
            found.append(PLATEAU(callback=w.callback, times=times, monitor=w.monitor))
    terminate = next((cb for cb in callbacks(facts.trace) if "TerminateOnNaN" in cb.family), None)
    finite = all(math.isfinite(v) for e in facts.epochs if (v := number(e, "loss")) is not None)
    if terminate is not None and since is not None and finite and first_batch(facts.trace) is None:
        found.append(TERMINATE(callback=terminate.name))
    return found


def said_of(origin: Origin) -> Said:
    """Where it began, as a sentence."""
    rows = None
    if origin.rows:
        rows = ROWS(
            plural=origin.count > 1,
            rows=[str(row) for row in origin.rows],
            more=origin.count > len(origin.rows),
            given=origin.given,
            batch=origin.batch,
        )
    before, then = origin.initially, origin.largest
    grown = then if before is not None and then is not None and then > GROWN * max(before, 1.0) else None
    return ORIGIN(
        cause=origin.cause,
        name=origin.name,
        kind=origin.kind,
        rows=rows,
        plural=origin.count > 1,
        batch=origin.batch,
        zeros=origin.zeros,
        grown=grown,
        initially=before,
    )
