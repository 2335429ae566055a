"""Rule `metric-never-reset`: a metric goes on from the epoch before (its `reset_state` does nothing), so its value is
an average over the whole fit."""

from __future__ import annotations

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile import metric_state

NAME = "metric-never-reset"

LOOP = Text("metric-never-reset.loop", "No fit ran that resets metrics at the beginning of an epoch.")
NOT_KNOWN = Text("metric-never-reset.not-known", "The metrics' states at the beginning of epochs were not recorded.")
FEW = Text("metric-never-reset.few", "There was one epoch, and no other that a metric could carry over to.")
RESET = Text("metric-never-reset.reset", "Every metric began every epoch anew.")
FAILED = Text(
    "metric-never-reset.failed",
    "{metrics:quoted} {partly:given(kept a part of its state from|went on from)} the epoch before in {epochs:plural(# "
    "epoch|# epochs)}: what is logged{logged:given( ({logged:number} for epoch {epoch}))} "
    "{partly:given(is no value of one epoch|is taken over all epochs so far, and old weights weigh as much as new "
    "ones)}.",
)
ADVICE = Text(
    "metric-never-reset.advice",
    "`fit` calls `reset_state()` of each of `model.metrics` before every epoch and every validation pass. Let it set "
    "all that the metric keeps back to where it began, in {name:given(`{name}`|the metric's class)}:\n\n"
    "{code:python}\n",
)
ADVICE_MODEL = Text(
    "metric-never-reset.advice-model",
    "Keras's own metrics are set back by the model's `reset_metrics`, which `fit` calls before every epoch and every "
    "validation pass. Leave it to Keras, or let it do this in {name:given(`{name}`|the model's class)}:\n\n"
    "{code:python}\n",
)
CODE = """\
def reset_state(self):
    for variable in self.variables:
        variable.assign(keras.ops.zeros_like(variable))"""


CODE_MODEL = """\
def reset_metrics(self):
    for metric in self.metrics:
        metric.reset_state()"""


def check(facts: Facts) -> Finding:
    """Fails where the first step of later epochs found a metric's state as the last step before left it, and that is
    not the state it began the fit with."""
    trace = facts.trace
    if trace.header.fit.loop is not None:
        return not_applicable(NAME, LOOP())
    epochs = [trace.index.steps_of(e.epoch) for e in facts.epochs]
    if len(epochs) < 2:
        return not_applicable(NAME, FEW())
    found = metric_state.carried(metric_state.layout(trace.header.metric_variables), epochs)
    carried = found.epochs
    if not found.known:
        return not_applicable(NAME, NOT_KNOWN())
    if not carried:
        return Finding(NAME, "passed", RESET(), {"epochs": found.known + 1}, "")
    name = max(carried, key=lambda key: carried[key])
    last = facts.epochs[-1]
    value = last.logs.get(name)
    logged = float(value) if isinstance(value, (int, float)) else None
    title = FAILED(
        metrics=sorted(carried),
        epochs=carried[name],
        logged=logged,
        epoch=last.epoch,
        partly=name in found.partly,
    )
    described = next((m for m in trace.header.metrics or () if m.name == name), None)
    of_loss = {v.log for v in trace.header.metric_variables if v.of_loss}
    if name in of_loss or (described is not None and described.builtin):
        advice = ADVICE_MODEL(code=CODE_MODEL, name=trace.header.model.class_name)
    else:
        advice = ADVICE(code=CODE, name=None if described is None else described.class_name)
    evidence = {"metrics": sorted(carried), "epochs": carried[name], "epoch": last.epoch, "logged": logged}
    return Finding(NAME, "failed", title, evidence, advice, name)
