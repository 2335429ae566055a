"""Rule `stopped-inside-epoch`: `stop_training` was set in a batch hook, so the last epoch's log covers only the batches
done (usual in learning-rate finders)."""

from __future__ import annotations

import math

from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Text, sentences
from diagnose.rules.common import NO_EPOCH, metric_in_question, not_applicable
from diagnose.rules.facts import Facts
from diagnose.tracefile.events import StopRequested
from diagnose.tracefile.model import Event

NAME = "stopped-inside-epoch"

NONE = Text("stopped-inside-epoch.none", "No callback stopped the run in a batch hook.")
SOMEBODY = Text("stopped-inside-epoch.somebody", "A callback")
NOT_KNOWN = Text(
    "stopped-inside-epoch.not-known",
    "{callback} stopped the run in a batch hook; how many batches an epoch has is not known.",
)
WHOLE = Text(
    "stopped-inside-epoch.whole",
    "{callback} stopped the run in a batch hook, but after the last batch of epoch {epoch}.",
)
NOT_FINITE = Text(
    "stopped-inside-epoch.not-finite",
    "{callback} stopped inside epoch {epoch}, whose {metric} is no finite number anyway.",
)
FAILED = Text(
    "stopped-inside-epoch.failed",
    "{callback} stopped the run inside epoch {epoch}: its logged {metric} ({logged:number}) covers {done} of {planned} "
    "batches{rows:given( ({rows} of {all_rows} rows))}.",
)
MISSED = Text(
    "stopped-inside-epoch.missed", "Rows that evaluate covers and it does not move the value by {missed:number}."
)
ADVICE = Text(
    "stopped-inside-epoch.advice",
    """\
Let a batch hook only note that it is time, and stop when the epoch is whole:

{code:python}

Where it has to stop at once, leave the last line of the log out, and use `model.evaluate(x, y)`.
""",
)
CODE = """\
class StopAfterEpoch(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.updates, self.due = 0, False

    def on_train_batch_end(self, batch, logs=None):
        self.updates += 1
        self.due = self.due or self.updates >= UPDATES

    def on_epoch_end(self, epoch, logs=None):
        if self.due:
            self.model.stop_training = True

model.fit(x, y, epochs=..., callbacks=[StopAfterEpoch()])"""


def check(facts: Facts) -> Finding:
    """Fails where the flag was set in a batch hook and the epoch then had fewer batches than an epoch has."""
    if not facts.epochs:
        return not_applicable(NAME, NO_EPOCH())
    last = facts.epochs[-1]
    stop = _stop(facts, last.epoch)
    if stop is None:
        return not_applicable(NAME, NONE())
    who = str(stop.detail.callback or "") or SOMEBODY()
    done, planned = last.last_version - last.first_version, _planned(facts)
    if planned is None:
        return not_applicable(NAME, NOT_KNOWN(callback=who), {"done": done})
    metric = metric_in_question(facts, facts.training_decisions())
    logged = last.logs.get(metric)
    evidence = {
        "callback": who,
        "hook": stop.detail.hook,
        "epoch": last.epoch,
        "batches_done": done,
        "batches_of_an_epoch": planned,
        "rows_done": _rows(facts, last.epoch),
        "rows_of_an_epoch": next(
            (_rows(facts, e.epoch) for e in facts.epochs if _steps(facts, e.epoch) == planned), None
        ),
        "metric": metric,
        "logged": logged,
        "end_of_epoch": facts.measured.reevaluated.get(last.epoch, {}).get(metric),
    }
    if done >= planned:
        title = WHOLE(callback=who, epoch=last.epoch)
        return Finding(NAME, "passed", title, evidence, "", metric, 0.0)
    if not isinstance(logged, (int, float)) or not math.isfinite(logged):
        return not_applicable(NAME, NOT_FINITE(callback=who, epoch=last.epoch, metric=metric), evidence)
    known = bool(evidence["rows_done"] and evidence["rows_of_an_epoch"])
    failed = FAILED(
        callback=who,
        epoch=last.epoch,
        metric=metric,
        logged=logged,
        done=done,
        planned=planned,
        rows=evidence["rows_done"] if known else None,
        all_rows=evidence["rows_of_an_epoch"],
    )
    missed = evidence["by_data_coverage"] = _missed(facts, metric, last.epoch)
    title = sentences(failed, MISSED(missed=missed) if missed else "")
    advice = ADVICE(code=CODE.replace("UPDATES", str(facts.trace.updates)))
    return Finding(NAME, "failed", title, evidence, advice, metric, None if missed is None else abs(missed))


def _stop(facts: Facts, epoch: int) -> Event[StopRequested] | None:
    found = facts.trace.events_of(StopRequested)
    return next((e for e in found if e.epoch == epoch and "batch" in (e.detail.hook or "")), None)


def _planned(facts: Facts) -> int | None:
    """Batches of a whole epoch: as Keras counted them beforehand, else as an epoch before had them."""
    steps = facts.trace.header.fit.arguments.steps
    if isinstance(steps, int):
        return steps
    return max(facts.steps_per_epoch[:-1], default=None)


def _steps(facts: Facts, epoch: int) -> int:
    return len(facts.trace.index.steps_of(epoch))


def _rows(facts: Facts, epoch: int) -> int | None:
    """Rows in the batches of an epoch; None where some batch has no rows to count."""
    counts = [len(step.batch.row_ids) for step in facts.trace.index.steps_of(epoch)]
    return sum(counts) if all(counts) else None


def _missed(facts: Facts, metric: str, epoch: int) -> float | None:
    """The ledger's amount for rows that only one of the two values covers."""
    ledger = facts.ledger(metric, epoch)
    if ledger is None:
        return None
    return next((e.amount for e in ledger.entries if e.factor == "data-coverage"), None)
