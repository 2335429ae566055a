"""Rule `evaluate-inside-epoch`: the metrics were reset in the middle of an epoch, so that its log covers only what
followed (keras#16526, tf#42994)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from diagnose.decide.clock import steps_before_reset
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import MATERIAL, NO_EPOCH, metric_in_question, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.means import held, own_train_step, plain_means
from diagnose.tracefile.events import MetricsReset
from diagnose.tracefile.increments import mean, sums
from diagnose.tracefile.model import Epoch

NAME = "evaluate-inside-epoch"

TRAIN_ON_BATCH = Text(
    "evaluate-inside-epoch.train-on-batch", "train_on_batch resets the metrics before every step by itself."
)
NOT_RECORDED = Text("evaluate-inside-epoch.not-recorded", "The state of the metrics was not recorded after each step.")
NONE = Text("evaluate-inside-epoch.none", "Nothing reset the metrics inside an epoch.")
NO_MEAN = Text("evaluate-inside-epoch.no-mean", "The metrics were reset inside an epoch, but none of them is a mean.")
SMALL = Text(
    "evaluate-inside-epoch.small",
    "The metrics were reset inside {count:plural(epoch {epoch}|# epochs)}, but what was logged is the value over all "
    "batches to within {within:.0%}.",
)
FAILED = Text(
    "evaluate-inside-epoch.failed",
    "{callback:given({callback}|Something)} reset the metrics inside epoch {epoch}: its logged {metric} "
    "({logged:number}) covers {covers:select(none=none of its {batches} batches|mixed=the last {left} of {batches} "
    "batches, mixed with evaluated rows|last=only the last {left} of {batches} batches)}. Over all its batches it is "
    "{whole:number}.{more:given( So it is in {more} more.)}",
)
ADVICE = Text(
    "evaluate-inside-epoch.advice",
    """\
`evaluate` and `fit` keep their sums in the same variables. Evaluate between epochs, or put the sums of `fit` back:

{code:python}
""",
)
CODE = """\
class EvaluateInside(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % 100 == 0:
            kept = [keras.ops.convert_to_numpy(v) for v in self.model.metrics_variables]
            print(self.model.evaluate(x_val, y_val, verbose=0))
            for variable, value in zip(self.model.metrics_variables, kept):
                variable.assign(value)

model.fit(x, y, callbacks=[EvaluateInside()])"""


def check(facts: Facts) -> Finding:
    """Fails where metric state changed inside an epoch, and its log is clearly not the value over its batches."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if facts.trace.header.fit.loop == "train_on_batch":
        return not_applicable(NAME, TRAIN_ON_BATCH())
    if all(step.metrics_after is None for step in facts.trace.steps):
        return not_applicable(NAME, NOT_RECORDED())
    resets = [found for epoch in facts.epochs if (found := _last_reset(facts, epoch)) is not None]
    if not resets:
        return Finding(NAME, "passed", NONE(), {}, "")
    means = plain_means(facts)
    if "loss" not in means and not own_train_step(facts):
        means = ("loss", *means)  # Keras keeps it as a mean, whatever the logs of these epochs say
    covers = [c for reset in resets for c in _covered(facts, reset, means)]
    if not covers:
        epochs = [reset.epoch.epoch for reset in resets]
        return not_applicable(NAME, NO_MEAN(), {"epochs": epochs})
    wanted = metric_in_question(facts, facts.training_decisions())
    worst = max([c for c in covers if c.metric == wanted] or covers, key=lambda c: c.relative)
    evidence = {
        "callback": worst.reset.callback,
        "hook": worst.reset.hook,
        "epochs": [reset.epoch.epoch for reset in resets],
        "epoch": worst.reset.epoch.epoch,
        "metric": worst.metric,
        "batches": worst.reset.batches,
        "batches_covered": worst.reset.batches - worst.reset.done,
        "carried_in": worst.carried,
        "logged": worst.logged,
        "over_all_batches": worst.whole,
    }
    if worst.relative < MATERIAL:
        title = SMALL(count=len(resets), epoch=resets[0].epoch.epoch, within=MATERIAL)
        return Finding(NAME, "passed", title, evidence, "", worst.metric, worst.distance)
    return Finding(NAME, "failed", _title(worst, resets), evidence, ADVICE(code=CODE), worst.metric, worst.distance)


@dataclass(frozen=True, slots=True)
class _Reset:
    """The last reset of an epoch: after `done` of its `batches`, by a callback's hook where that was seen."""

    epoch: Epoch
    batches: int
    done: int
    callback: str | None
    hook: str | None


@dataclass(frozen=True, slots=True)
class _Covered:
    """What one metric's log covers: the batches after the reset, and `carried` counts that were in the state then
    (None: no step followed that shows them). `whole` is the mean over all batches of the epoch."""

    reset: _Reset
    metric: str
    logged: float
    whole: float
    carried: float | None

    @property
    def distance(self) -> float:
        return abs(self.logged - self.whole)

    @property
    def relative(self) -> float:
        return self.distance / (max(abs(self.logged), abs(self.whole)) or 1.0)


def _last_reset(facts: Facts, epoch: Epoch) -> _Reset | None:
    steps = facts.trace.index.steps_of(epoch.epoch)
    done = steps_before_reset(facts.trace, epoch)
    if not done:
        return None
    seen = facts.trace.index.events_of(MetricsReset, epoch.epoch)
    who = next((e.detail for e in reversed(seen) if e.step == epoch.first_version + done), MetricsReset(callback=None))
    return _Reset(epoch, len(steps), done, who.callback, who.hook)


def _covered(facts: Facts, reset: _Reset, metrics: Iterable[str]) -> Iterator[_Covered]:
    trace = facts.trace
    steps = trace.index.steps_of(reset.epoch.epoch)
    added = [sums(trace, step) for step in steps]
    before = None
    if reset.done < len(steps):
        step = steps[reset.done]
        before = held(trace, step, step.metrics_before)
    for metric in metrics:
        own = [parts[metric] for parts in added if metric in parts]
        logged = reset.epoch.logs.get(metric)
        if not isinstance(logged, (int, float)) or len(own) != len(steps):
            continue
        whole = mean(math.fsum(total for total, _ in own), math.fsum(count for _, count in own))
        carried = None if before is None else before.get(metric, (0.0, 0.0))[1]
        if math.isfinite(whole) and math.isfinite(logged):
            yield _Covered(reset, metric, float(logged), whole, carried)


def _title(found: _Covered, resets: list[_Reset]) -> Said:
    reset = found.reset
    return FAILED(
        callback=reset.callback,
        epoch=reset.epoch.epoch,
        metric=found.metric,
        logged=found.logged,
        covers="none" if found.carried is None else "mixed" if found.carried else "last",
        batches=reset.batches,
        left=reset.batches - reset.done,
        whole=found.whole,
        more=len(resets) - 1 if len(resets) > 1 else None,
    )
