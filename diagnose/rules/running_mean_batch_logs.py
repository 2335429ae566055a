"""Rule `running-mean-batch-logs`: a callback takes the logs of `on_train_batch_end` for the batch's own values; they
are means over the epoch so far (tf#36400, keras#13530, #17167)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from diagnose.decide.callbacks import callbacks
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import ITS_CODE, MATERIAL, NO_EPOCH, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.means import own_train_step, plain_means, running
from diagnose.tracefile.model import Step
from diagnose.tracefile.values import own_values

NAME = "running-mean-batch-logs"

HOOKS = ("on_train_batch_end", "on_batch_end")
ALL = "*"

NOT_SAID = Text(
    "running-mean-batch-logs.not-said",
    "This trace does not say what callbacks read: it was recorded by an older release.",
)
NONE = Text("running-mean-batch-logs.none", "No callback's code takes a logged value in a batch hook as it stands.")
OWN_STEP = Text(
    "running-mean-batch-logs.own-step",
    "The model's own train_step decides what a batch's logs are; they are not recorded.",
)
NO_VALUE = Text(
    "running-mean-batch-logs.no-value",
    "What is read in a batch hook ({keys:list}) has no value of single batches here.",
)
ONE_BATCH = Text(
    "running-mean-batch-logs.one-batch", "No epoch has a second batch, so each mean so far is the batch's own value."
)
SMALL = Text(
    "running-mean-batch-logs.small",
    "{callback} reads logs['{key}'] in {hook}; the mean so far was never far from the batch's own value.",
)
FAILED = Text(
    "running-mean-batch-logs.failed",
    "At batch {batch} of epoch {epoch}, {callback} was handed {key} {so_far:number} in {hook}: the mean over the epoch "
    "so far. That batch alone has {own:number}.",
)
ADVICE = Text(
    "running-mean-batch-logs.advice",
    """\
Take the mean apart: times the batches so far, less what it was before. With a short last batch, multiply by rows
instead.

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where a callback's own code reads a value in a batch hook that is clearly not the batch's own."""
    listed = callbacks(facts.trace)
    if any(cb.reads is None for cb in listed):
        return not_applicable(NAME, NOT_SAID())
    readers = [(cb.name, hook, keys) for cb in listed for hook, keys in (cb.reads or {}).items() if hook in HOOKS]
    if not readers:
        return not_applicable(NAME, NONE())
    if own_train_step(facts):
        return not_applicable(NAME, OWN_STEP())
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    means = plain_means(facts)
    read = [(cb, hook, k) for cb, hook, keys in readers for k in (means if ALL in keys else keys) if k in means]
    if not read:
        return not_applicable(NAME, NO_VALUE(keys=sorted({k for *_, keys in readers for k in keys})))
    found = [(*one, _furthest(facts, one[2])) for one in read]
    furthest = [(cb, hook, key, at) for cb, hook, key, at in found if at is not None]
    if not furthest:
        return not_applicable(NAME, ONE_BATCH())
    callback, hook, key, at = next((f for f in furthest if f[3].material), furthest[0])
    evidence = {
        "callback": callback,
        "hook": hook,
        "recognised_by": ITS_CODE(),
        "key": key,
        "epoch": at.step.epoch,
        "batch": at.step.batch_index + 1,
        "handed": at.so_far,
        "of_the_batch": at.own,
    }
    if not at.material:
        title = SMALL(callback=callback, key=key, hook=hook)
        return Finding(NAME, "passed", title, evidence, "", key, at.distance)
    title = FAILED(
        batch=at.step.batch_index + 1,
        epoch=at.step.epoch,
        callback=callback,
        key=key,
        so_far=at.so_far,
        hook=hook,
        own=at.own,
    )
    return Finding(NAME, "failed", title, evidence, _advice(key), key, at.distance)


@dataclass(frozen=True, slots=True)
class _At:
    """A step, the mean its batch hook was handed, and the value of its batch alone."""

    step: Step
    so_far: float
    own: float

    @property
    def distance(self) -> float:
        return abs(self.so_far - self.own)

    @property
    def material(self) -> bool:
        return self.distance >= MATERIAL * max(abs(self.so_far), abs(self.own)) and self.distance > 0.0


def _furthest(facts: Facts, key: str) -> _At | None:
    """The step whose two values are furthest apart; None where every hook was handed one batch's value."""
    found = [_At(s, *values) for s in _handed(facts) if (values := _values(facts, s, key)) is not None]
    return max(found, key=lambda at: at.distance, default=None)


def _values(facts: Facts, step: Step, key: str) -> tuple[float, float] | None:
    so_far, own = running(facts.trace, step).get(key), own_values(facts.trace, step).get(key)
    if so_far is None or own is None or not math.isfinite(so_far - own):
        return None
    return so_far, own


def _handed(facts: Facts) -> Iterator[Step]:
    """The steps after which batch hooks ran, but the first of each epoch."""
    every = facts.trace.header.compile.steps_per_execution or 1
    for epoch in facts.epochs:
        steps = facts.trace.index.steps_of(epoch.epoch)
        yield from (s for s in steps[1:] if (s.batch_index + 1) % every == 0 or s is steps[-1])


def _advice(key: str) -> Said:
    code = f"""\
class OwnValues(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.before = 0.0

    def on_train_batch_end(self, batch, logs=None):
        so_far = logs["{key}"] * (batch + 1)
        own = so_far - self.before
        self.before = so_far
        print(f"batch {{batch + 1}}: {{own:.4f}}")

model.fit(x, y, callbacks=[OwnValues()])"""
    return ADVICE(code=code)
