"""Rule `metric-never-updated`: the model's own train or test step never updates the metric of a name that it returns,
so `fit` and `evaluate` have what the metric began with, 0, and not what the step computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile import metric_state

NAME = "metric-never-updated"

BY_KERAS = Text("metric-never-updated.by-keras", "The train step is Keras's own, which updates the metrics.")
OTHER_NAMES = Text(
    "metric-never-updated.other-names",
    "The train step returns other names than those of the metrics: what is logged is what its last step returned.",
)
NOT_RECORDED = Text(
    "metric-never-updated.not-recorded", "The metrics' states before and after the steps were not recorded."
)
UPDATED = Text("metric-never-updated.updated", "The train step updates every metric that is logged.")
FAILED = Text(
    "metric-never-updated.failed",
    "{metrics:quoted} {count:plural(is not what the train step computes: its metric was|are not what the train step "
    "computes: their metrics were)} updated in none of {steps:plural(# step|# steps)}. As train_step returns just the "
    "names of the model's metrics, fit logs these: {logged:number} in {epochs:plural(the one epoch|all # epochs)}."
    "{returned:given( Computed again, the last step returns {metric} {returned:number}.)}",
)
FAILED_TEST = Text(
    "metric-never-updated.failed-test",
    "{metrics:quoted} {count:plural(is not what the test step computes: computed again, it leaves its metric|are not "
    "what the test step computes: computed again, it leaves their metrics)} as after a reset. As test_step returns "
    "just the names of the model's metrics, evaluate and validation give these: {logged:number} "
    "{epochs:given(in {epochs:plural(the one epoch|all # epochs)}|in the script's own evaluate)}."
    "{returned:given( For its first batch the step returns {metric} {returned:number}.)}",
)
ADVICE = Text(
    "metric-never-updated.advice",
    "{returned:given(Give `{name}` a metric for what its {step:select(train_step=train|test_step=test)} step returns, "
    "and update it there, each batch by its rows|Update the metrics in the "
    "{step:select(train_step=train|test_step=test)} step of `{name}`, before it returns their results)}:\n\n"
    "{code:python}\n",
)
_MEAN = """\
class Updated({name}):  # or in {name} itself
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.own_{metric} = keras.metrics.Mean(name="{metric}")

    @property
    def metrics(self):
        return [m for m in super().metrics if m.name != "{metric}"] + [self.own_{metric}]

"""
CODE = (
    _MEAN
    + """\
    def {step}(self, data):
        logs = super().{step}(data)
        rows = keras.ops.shape(keras.tree.flatten(data)[0])[0]
        self.own_{metric}.update_state(logs["{metric}"], sample_weight=rows)
        return {{**logs, "{metric}": self.own_{metric}.result()}}"""
)
CODE_JAX = (
    _MEAN
    + """\
    def {step}(self, state, data):
        logs, (*others, held) = super().{step}(state, data)
        rows = keras.ops.shape(keras.tree.flatten(data)[0])[0]
        own = self.own_{metric}.stateless_update_state(state[-1][-2:], logs["{metric}"], sample_weight=rows)
        logs = {{**logs, "{metric}": self.own_{metric}.stateless_result(own)}}
        return logs, (*others, [*held[:-2], *own])"""
)
CODE_LINES = """\
for metric in self.metrics:
    if metric.name == "loss":
        metric.update_state(loss, sample_weight=keras.ops.shape(y)[0])
    else:
        metric.update_state(y, y_pred)"""
CODE_LINES_JAX = """\
updated = []
for metric in self.metrics:
    own = metrics_variables[len(updated) : len(updated) + len(metric.variables)]
    given = (loss, keras.ops.shape(y)[0]) if metric.name == "loss" else (y, y_pred)
    updated += metric.stateless_update_state(own, *given)"""


def check(facts: Facts) -> Finding:
    """Fails where a train step of the model's own ran, no recorded step changed the state of a metric that stands in
    the logs, and the log has one value for it in every epoch: what a metric has that saw nothing; or where a test step
    of its own, computed again, changes no state of one of which validation and evaluate give just that."""
    found = _trained(facts)
    if found.status == "failed":
        return found
    tested = _tested(facts)
    return found if tested is None else tested


def _tested(facts: Facts) -> Finding | None:
    """Of the test step; None where there is nothing to be said of it."""
    tested = facts.measured.tested
    if tested is None:
        return None
    given = {name: _given(facts, name) for name in tested.unmoved}
    found = [name for name, values in given.items() if values == {tested.unmoved[name]}]
    if not found:
        return None
    logged = [f"val_{name}" for name in found] if facts.validated else found
    returned = tested.returned.get(found[0])
    epochs = len(facts.epochs) if facts.validated else None
    return _found(facts, logged, tested.unmoved[found[0]], returned, FAILED_TEST, "test_step", epochs)


def _given(facts: Facts, name: str) -> set[float]:
    """What validation gave for a metric, or, without it, the script's own calls of evaluate."""
    if facts.validated:
        return {v for e in facts.epochs if isinstance(v := e.logs.get(f"val_{name}"), (int, float))}
    return {c.returned[name] for c in facts.calls if c.call == "evaluate" and name in c.returned}


def _trained(facts: Facts) -> Finding:
    """Of the train step."""
    trace = facts.trace
    header = trace.header
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if not header.compile.custom_train_step or header.fit.loop is not None:
        return not_applicable(NAME, BY_KERAS())
    slots = metric_state.layout(header.metric_variables)
    names = list(dict.fromkeys(slot.log for slot in slots))
    if not names or set(names) != _logged(facts):
        return not_applicable(NAME, OTHER_NAMES())
    seen = [(s.metrics_before, s.metrics_after) for s in trace.steps]
    pairs = [(before, after) for before, after in seen if before is not None and after is not None]
    if not pairs:
        return not_applicable(NAME, NOT_RECORDED())
    first = pairs[0][0]
    raws = {raw for pair in pairs for raw in pair}
    moved = {slot.log for slot in slots if len({_part(slot, raw) for raw in raws}) > 1}
    found = [n for n in names if n not in moved and _shown(facts, n, slots, first)]
    if not found:
        return Finding(NAME, "passed", UPDATED(), {"steps": len(pairs)}, "")
    return _failed(facts, found, len(pairs))


def _logged(facts: Facts) -> set[str]:
    """The names in the log that training gave: not those of validation, nor what callbacks of Keras add."""
    return {n for n in facts.epochs[-1].logs if not n.startswith(("val_", "eval_")) and n != "learning_rate"}


def _part(slot: metric_state.Slot, raw: bytes) -> bytes:
    return raw[slot.start : slot.end]


def _shown(facts: Facts, name: str, slots: Sequence[metric_state.Slot], state: bytes) -> bool:
    """Whether each epoch's log has what a metric in this state reports: of a mean that is known, of others that it is
    always the same."""
    values = {e.logs.get(name) for e in facts.epochs}
    known = metric_state.means(metric_state.added(slots, None, state)).get(name)
    if known is None:
        return len(values) == 1 and len(facts.epochs) > 1
    total, count = known
    return values == {total / count if count else 0.0}


def _failed(facts: Facts, names: Sequence[str], steps: int) -> Finding:
    logged, returned = facts.epochs[-1].logs.get(names[0]), facts.measured.step_returned.get(names[0])
    return _found(facts, names, logged, returned, FAILED, "train_step", len(facts.epochs), steps)


def _found(
    facts: Facts,
    names: Sequence[str],
    logged: Any,
    returned: float | None,
    text: Text,
    step: str,
    epochs: int | None,
    steps: int | None = None,
) -> Finding:
    header, name = facts.trace.header, names[0].removeprefix("val_")
    returned = None if returned == logged else returned
    title = text(
        metrics=list(names),
        count=len(names),
        steps=steps,
        logged=logged,
        epochs=epochs,
        metric=name,
        returned=returned,
    )
    jax = header.backend == "jax"
    code = (CODE_JAX if jax else CODE) if returned is not None else (CODE_LINES_JAX if jax else CODE_LINES)
    own = header.model.class_name
    evidence: dict[str, Any] = {"metrics": list(names), "steps": steps, "logged": logged, "returned": returned}
    filled = code.format(name=own, metric=name, step=step) if returned is not None else code
    advice = ADVICE(name=own, returned=returned, code=filled, step=step)
    return Finding(NAME, "failed", title, evidence, advice, names[0])
