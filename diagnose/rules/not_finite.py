"""Rule `not-finite`: weights or logged values became NaN or infinite, and where that began (keras#2134, tf#38416)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from diagnose.decide.callbacks import callbacks
from diagnose.decide.not_finite import (
    BadRows,
    bad_rows,
    bad_variables,
    first_batch,
    first_logged,
    first_weights,
    number,
)
from diagnose.decide.watched import Watcher, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.measurements import Origin
from diagnose.result.text import short
from diagnose.result.texts import Said, Text, sentences
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.events import LearningRate

NAME = "not-finite"

OPTIMIZERS: Final = frozenset({
    "SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "Nadam", "RMSprop", "Ftrl", "Lion", "Lamb", "Muon",
})  # fmt: skip
"""Of Keras (3.8 to 3.15.1), all of which take `learning_rate` first, and `clipnorm`."""

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
    "rows={batch:given(in the data|in the validation data)}: {rows} {plural:given(are|is)} not finite|"
    "labels={batch:given(in the labels|in the validation labels)}: {rows} {plural:given(are|is)} not finite|"
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
NAMED = Text(
    "not-finite.named",
    "{rows:list}{more:given(, …)}{given:given( of the arrays given to fit|{batch:given( of the batch)})}",
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
ROWS = Text(
    "not-finite.rows",
    "{rows:given({rows:plural(# row|# rows)} of {of:select(batch=that batch|validation)} "
    "{rows:plural(has|have)} NaN or infinity in the {where:select(inputs=inputs|labels=labels|weights=sample weights|"
    "inputs and labels)}|All rows of {of:select(batch=that batch|validation)} are finite numbers)}.",
)
ADVICE_CLEAN = Text(
    "not-finite.advice-clean",
    "One such row takes the value of its whole batch with it{trained:given(, and the update the weights)}. Train and "
    "validate without such rows, or fill in what is missing:\n\n{code:python}\n",
)
ADVICE_UPDATES = Text(
    "not-finite.advice-updates",
    """\
Nothing that was logged from there on says anything. The rows are numbers, so either an update was too large, or the \
loss divides by, or takes the logarithm of, what became 0. Try smaller updates, and stop where it begins:

{code:python}
""",
)
ADVICE_STOP = Text(
    "not-finite.advice-stop",
    """\
Nothing that was logged from there on says anything. Stop where it begins, and look at that batch: its rows, the \
learning rate, divisions and logarithms in the loss:

{code:python}
""",
)
CODE_CLEAN = """\
def numbers(x, y):
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1) & np.isfinite(y).reshape(len(y), -1).all(axis=1)
    print("rows without a number:", np.flatnonzero(~finite))
    return x[finite], y[finite]
"""


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
    rows, origin = rows_of(facts), facts.measured.origin
    evidence["origin"] = None if origin is None else asdict(origin)
    told = [] if origin is None else [said_of(origin)]
    if rows is not None:
        evidence |= {"rows": rows.rows, "inputs": rows.inputs, "labels": rows.labels}
        if origin is None or origin.cause not in _OF_DATA:
            told.insert(0, ROWS(rows=rows.rows or None, of="batch" if batch else "validation", where=rows.where))
    unseen = weights is not None and weights.version is not None and _hidden(facts)
    title = sentences(*first, said, *told, *_callbacks(facts, None if logged is None else logged.epoch))
    return Finding(NAME, "failed", title, evidence, advice(facts, rows), role="spoils-values" if unseen else None)


_OF_DATA: Final = ("rows", "labels", "sample-weights")


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
    # As Python's indices, which are seen to count from 0: epochs and batches count from 1.
    array = {"labels": "y", "sample-weights": "sample_weight"}.get(origin.cause, "x")
    if origin.rows:
        rows = NAMED(
            rows=[f"{array}[{row}]" for row in origin.rows],
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


def rows_of(facts: Facts) -> BadRows | None:
    """What is wrong with the rows of the first batch whose value is no number, or, where none of training is, with
    those of the first such validation pass; None where it is not known."""
    trace, batch = facts.trace, first_batch(facts.trace)
    if batch is not None:
        return bad_rows(trace, [s.batch for s in trace.steps if s.step == batch.step])
    logged = first_logged(trace)
    passes = [e for e in trace.evaluations if logged is not None and e.epoch == logged.epoch and e.batches is not None]
    if logged is None or not logged.metric.startswith("val_") or not passes or passes[0].batches is None:
        return None
    return bad_rows(trace, trace.batches(passes[0].batches))


def advice(facts: Facts, rows: BadRows | None, watching: Watcher | None = None) -> Said:
    """What cures it, by where it came from: rows, or updates that were too large.

    Args:
        watching: a callback that is to go by the value once it is one.
    """
    trained = first_batch(facts.trace) is not None
    callbacks = [] if watching is None else [own_call(watching)]
    validation = "validation_data=numbers(x_val, y_val)" if facts.validated else None
    origin = facts.measured.origin
    of_data = origin is not None and origin.cause in ("rows", "labels")
    if of_data or (rows is not None and rows.rows and rows.where != "weights"):
        code = f"{CODE_CLEAN}\n{_fit('*numbers(x, y)', validation, callbacks)}"
        return ADVICE_CLEAN(trained=trained, code=code)
    given = "validation_data=(x_val, y_val)" if facts.validated else None
    code = _fit("x, y", given, [*callbacks, "keras.callbacks.TerminateOnNaN()"])
    smaller = _smaller_updates(facts)
    if rows is None or rows.rows or not trained or smaller is None:
        return ADVICE_STOP(code=code)
    return ADVICE_UPDATES(code=f"{smaller}\n{code}")


def _fit(data: str, validation: str | None, callbacks: Sequence[str]) -> str:
    last = f"callbacks=[{', '.join(callbacks)}]" if callbacks else None
    return f"model.fit({', '.join(part for part in (data, 'epochs=...', validation, last) if part)})"


def _smaller_updates(facts: Facts) -> str | None:
    """The user's optimizer with a tenth of its rate, and gradients cut off; None for one that is not Keras's, or whose
    rate is no number."""
    optimizer = facts.trace.header.compile.optimizer
    config = {} if optimizer is None else optimizer.config or {}
    rate = config.get("learning_rate")
    if optimizer is None or optimizer.class_name not in OPTIMIZERS or not isinstance(rate, (int, float)):
        return None
    made = f"keras.optimizers.{optimizer.class_name}({short(rate / 10)}, clipnorm=1.0)"
    return f"model = build_model()  # with fresh weights\nmodel.compile(optimizer={made}, loss=..., metrics=[...])"
