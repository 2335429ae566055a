"""Rule `metric-after-update`: a train step of the user's own updates its metrics after the weights, its loss before:
two clocks in one log (tf#28338)."""

from __future__ import annotations

import math

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text
from diagnose.rules.common import NO_EPOCH, NOT_MEASURED, not_applicable
from diagnose.rules.facts import Facts, Scored

NAME = "metric-after-update"

CLOSE = 1e-5
"""Relative difference up to which a logged value is one that was computed again."""

KERAS_STEP = Text(
    "metric-after-update.keras-step", "The train step is Keras's own: it scores loss and metrics before the update."
)
NEITHER = Text(
    "metric-after-update.neither",
    "Neither the weights before the updates nor those after them give a logged value in inference mode, so it cannot "
    "be told when the train step scored.",
)
BEFORE = Text(
    "metric-after-update.before",
    "The train step is the user's own, and scores before its update, as Keras does: {metrics:list}.",
)
FAILED = Text(
    "metric-after-update.failed",
    "The model's own train step scores {metric} after the update{before:given(, while {before:and} is scored before "
    "it)}: the {metric} logged for epoch {epoch} ({logged:number}) is that of weights one update later; with those "
    "before it, it is {other:number}.",
)
ADVICE = Text(
    "metric-after-update.advice",
    """\
Score the batch once, before the update, for the loss and the metrics alike: keep the predictions of the forward pass
and hand them to the metrics (here for TensorFlow).

{code:python}
""",
)
CODE = """\
def train_step(self, data):
    x, y = data
    with tf.GradientTape() as tape:
        y_pred = self(x, training=True)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
    gradients = tape.gradient(loss, self.trainable_variables)
    self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
    for metric in self.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=tf.shape(x)[0])
        else:
            metric.update_state(y, y_pred)  # not self(x) again
    return {metric.name: metric.result() for metric in self.metrics}"""


def check(facts: Facts) -> Finding:
    """Fails where an epoch's log holds one value of the weights before each update and another of those after it."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    if not facts.trace.header.compile.custom_train_step:
        return not_applicable(NAME, KERAS_STEP())
    if facts.no_replay is not None:
        return not_applicable(NAME, NOT_MEASURED(reason=facts.no_replay))
    found = [
        (epoch.epoch, name, float(logged), *_clock(facts.scored[epoch.epoch], name, float(logged)))
        for epoch in facts.epochs
        if epoch.epoch in facts.scored
        for name, logged in epoch.logs.items()
        if isinstance(logged, (int, float)) and name in facts.scored[epoch.epoch].before
    ]
    late = [x for x in found if x[3] == "after"]
    early = [x for x in found if x[3] == "before"]
    if not late and not early:
        return not_applicable(
            NAME,
            NEITHER(),
            {"values": [{"epoch": e, "metric": m, "logged": v} for e, m, v, _, _ in found][:20]},
        )
    if not late:
        names = sorted({name for _, name, *_ in early})
        return Finding(NAME, "passed", BEFORE(metrics=names), {"before": names}, "")
    epoch, metric, logged, _, other = max(late, key=lambda x: abs(x[2] - x[4]))
    before = sorted({name for _, name, *_ in early})
    evidence = {
        "epoch": epoch,
        "metric": metric,
        "logged": logged,
        "before_the_updates": facts.scored[epoch].before[metric],
        "after_the_updates": facts.scored[epoch].after[metric],
        "scored_after": sorted({name for _, name, *_ in late}),
        "scored_before": before,
    }
    title = FAILED(metric=metric, before=before, epoch=epoch, logged=logged, other=other)
    return Finding(NAME, "failed", title, evidence, ADVICE(code=CODE), metric, abs(logged - other))


def _clock(scored: Scored, name: str, logged: float) -> tuple[str | None, float]:
    """Which of the two the logged value is, where it is one of them and not the other; and the value before."""
    before, after = scored.before[name], scored.after.get(name, math.nan)
    is_before, is_after = _close(before, logged), _close(after, logged)
    if is_before == is_after:
        return None, before
    return ("before" if is_before else "after"), before


def _close(value: float, logged: float) -> bool:
    return abs(value - logged) <= CLOSE * max(abs(logged), 1e-3)
