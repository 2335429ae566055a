"""Rule `ema-order`: validation scored the weights or their moving average, and the model after fit, or the saved file,
holds the other (keras#18949)."""

from __future__ import annotations

from typing import Any

from diagnose.decide.averages import Averages, Content, set_at_end
from diagnose.decide.clock import validated_with
from diagnose.decide.kept import kept_by
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import call_of_fit
from diagnose.tracefile.events import WeightsChanged
from diagnose.tracefile.model import State

NAME = "ema-order"

NO_AVERAGE = Text("ema-order.none", "The optimizer keeps no moving average of the weights (use_ema is not set).")
NOT_SAID = Text("ema-order.not-said", "This trace does not say which of the optimizer's variables are averages.")
NO_END = Text("ema-order.no-end", "The fit did not reach its end: which weights the model was left with is not known.")
NEITHER = Text("ema-order.neither", "The model after fit holds neither weights of training nor their moving average.")
_WORDS = (
    "select(raw=the raw weights|average=the moving average of the weights|"
    "both=the moving average of the weights and the raw weights)"
)
SCORED = Text(
    "ema-order.scored",
    f"{{monitor}} {{logged:number}} of epoch {{epoch}}{{went_by:given(, which {{went_by}} went by,)}} was computed "
    f"with {{used:{_WORDS}}}, but the model after fit holds {{kept:{_WORDS}}}"
    "{held_epoch:given( of epoch {held_epoch})}{writer:given( (written by {writer}))}"
    "{value:given(: its {monitor} is {value:number})}.",
)
SAVED = Text(
    "ema-order.saved",
    f"{{callback}} kept epoch {{epoch}} for its {{monitor}} {{logged:number}}, computed with {{used:{_WORDS}}}, but "
    f"the file holds {{kept:{_WORDS}}}{{value:given(: their {{monitor}} is {{value:number}})}}.",
)
DISCARDED = Text(
    "ema-order.discarded",
    "{writer} put the raw weights{held_epoch:given( of epoch {held_epoch})} in the place of the moving average that "
    "Keras had set at the end of training, so use_ema had no effect on the model"
    "{average:given(: {monitor} {value:number}, where the average had {average:number})}.",
)
NOT_VALIDATED = Text(
    "ema-order.not-validated",
    f"No validation value to compare with; the model after fit holds {{kept:{_WORDS}}}.",
)
SAME = Text(
    "ema-order.same",
    f"{{monitor}} of epoch {{epoch}} was computed with {{kept:{_WORDS}}}, and so is the model after fit.",
)
THE_SCRIPT = Text("ema-order.the-script", "The script")
AT_THE_END = Text("ema-order.at-the-end", "Keras, at the end of training")
ADVICE_RAW = Text(
    "ema-order.advice-raw", "Let validation score what the model will hold, the average:\n\n{code:python}\n"
)
ADVICE_WITHOUT_SWAP = Text(
    "ema-order.advice-without-swap",
    """\
Keras puts the average into the model itself when training ends; without `swap_on_epoch`, the callback does not
stand in its way however training ends:

{code:python}
""",
)
ADVICE_SWAP = Text(
    "ema-order.advice-swap",
    """\
Have the average in the model when the callback takes its copy: `swap_on_epoch=True`, and in this order.

{code:python}
""",
)


def check(facts: Facts) -> Finding:
    """Fails where the value went by and the model (or file) kept are of different kinds, or where an average that was
    in the model at the end of training was overwritten with raw weights."""
    trace = facts.trace
    if not trace.header.compile.optimizer_config.get("use_ema"):
        return not_applicable(NAME, NO_AVERAGE())
    averages = Averages.of(trace)
    if averages is None:
        return not_applicable(NAME, NOT_SAID())
    if trace.final is None or not facts.epochs:
        return not_applicable(NAME, NO_END())
    last = facts.epochs[-1].epoch
    held = averages.content(trace.final, [e.epoch for e in facts.epochs] if len(facts.epochs) <= 50 else [last])
    if held is None:
        return not_applicable(NAME, NEITHER())
    return (
        _scored(facts, averages, held)
        or _saved(facts, averages)
        or _discarded(facts, averages, held)
        or _passed(facts, averages, held)
    )


def _scored(facts: Facts, averages: Averages, held: Content) -> Finding | None:
    """The value that decided, else that of the last validation, was computed with the other kind."""
    found = _in_question(facts, averages)
    if found is None:
        return None
    monitor, epoch, scored = found
    if scored.kinds & held.kinds:
        return None
    logged = _logged(facts, epoch, monitor)
    value = facts.measured.held_validation.get(monitor)
    used, kept = min(scored.kinds), min(held.kinds)
    evidence = _evidence(monitor, epoch, logged, used)
    writer = _last_writer(facts, held)
    evidence |= {"held": kept, "held_epoch": held.epoch, "held_value": value, "written_by": writer}
    went_by = facts.restoration is not None and facts.restoration.monitor == monitor and _restores(facts)
    title = SCORED(
        monitor=monitor,
        logged=logged,
        epoch=epoch,
        went_by=facts.restoration.callback if went_by and facts.restoration is not None else None,
        used=used,
        kept=kept,
        held_epoch=held.epoch if kept == "raw" else None,
        writer=writer,
        value=value,
    )
    effect = None if value is None or logged is None else abs(value - logged)
    return Finding(NAME, "failed", title, evidence, _advice(facts, used, restores=_restores(facts)), monitor, effect)


def _saved(facts: Facts, averages: Averages) -> Finding | None:
    """A ModelCheckpoint's file holds the other kind than its value was computed with."""
    for decision in facts.decisions:
        if decision.kind != "checkpoint" or decision.on_training_value:
            continue
        found = kept_by(facts.trace, decision)
        if found is None or found.state is None:
            continue
        epoch, state = found.epoch, found.state
        scored, saved = _content_scored(facts, averages, epoch.epoch), averages.content(state, [epoch.epoch])
        if scored is None or saved is None or scored.kinds & saved.kinds:
            continue
        monitor, used, kept = decision.monitor, min(scored.kinds), min(saved.kinds)
        logged, value = _logged(facts, epoch.epoch, monitor), facts.measured.ema_values.get("saved", {}).get(monitor)
        evidence = _evidence(monitor, epoch.epoch, logged, used)
        evidence |= {"saved": kept, "saved_value": value, "callback": decision.callback, "known_by": found.known_by}
        title = SAVED(
            callback=decision.callback,
            epoch=epoch.epoch,
            monitor=monitor,
            logged=logged,
            used=used,
            kept=kept,
            value=value,
        )
        effect = None if value is None or logged is None else abs(value - logged)
        return Finding(
            NAME, "failed", title, evidence, _advice(facts, used, restores=False, saves=True), monitor, effect
        )
    return None


def _discarded(facts: Facts, averages: Averages, held: Content) -> Finding | None:
    """Keras had put the average into the model, and somebody wrote raw weights over it."""
    state = set_at_end(facts.trace)
    if state is None or facts.trace.final is None or state.weights == facts.trace.final.weights:
        return None
    set_then = averages.content(state, [facts.epochs[-1].epoch])
    if set_then is None or "average" not in set_then.kinds or "average" in held.kinds:
        return None
    monitor = facts.restoration.monitor if facts.restoration is not None else "val_loss"
    values = {**facts.measured.evaluated, **facts.measured.held_validation}
    value, average = values.get(monitor), facts.measured.ema_values.get("average", {}).get(monitor)
    writer = _last_writer(facts, held) or THE_SCRIPT()
    evidence = {
        "monitor": monitor,
        "held": "raw",
        "held_epoch": held.epoch,
        "held_value": value,
        "average_value": average,
        "written_by": writer,
    }
    title = DISCARDED(writer=writer, held_epoch=held.epoch, monitor=monitor, value=value, average=average)
    effect = None if value is None or average is None else abs(value - average)
    return Finding(NAME, "failed", title, evidence, _advice(facts, "average", restores=True), monitor, effect)


def _passed(facts: Facts, averages: Averages, held: Content) -> Finding:
    found = _in_question(facts, averages)
    kind = "both" if len(held.kinds) > 1 else min(held.kinds)
    if found is None:
        return not_applicable(NAME, NOT_VALIDATED(kept=kind))
    monitor, epoch, scored = found
    logged, value = _logged(facts, epoch, monitor), facts.measured.held_validation.get(monitor)
    evidence = _evidence(monitor, epoch, logged, min(scored.kinds)) | {"held": min(held.kinds), "held_value": value}
    title = SAME(monitor=monitor, epoch=epoch, kept=kind)
    return Finding(NAME, "passed", title, evidence, "", monitor)


def _in_question(facts: Facts, averages: Averages) -> tuple[str, int, Content] | None:
    """The validation value that a restore went by, else the last one: its name, its epoch, and what it scored."""
    r = facts.restoration
    if (
        r is not None
        and facts.trace.source(r.monitor) == "validation"
        and r.best_epoch is not None
        and _restores(facts)
    ):
        monitor, epoch = r.monitor, r.chosen_epoch or r.best_epoch
    elif facts.trace.evaluations:
        epoch = facts.trace.evaluations[-1].epoch
        names = [k for e in facts.epochs if e.epoch == epoch for k in e.logs if facts.trace.source(k) == "validation"]
        if not names:
            return None
        monitor = "val_loss" if "val_loss" in names else names[0]
    else:
        return None
    scored = _content_scored(facts, averages, epoch)
    return None if scored is None else (monitor, epoch, scored)


def _content_scored(facts: Facts, averages: Averages, epoch: int) -> Content | None:
    state = validated_with(facts.trace, epoch)
    return None if state is None else averages.content(state, [epoch])


def _restores(facts: Facts) -> bool:
    return any(d.kind == "early-stopping" and d.settings.get("restore_best_weights") for d in facts.decisions)


def _logged(facts: Facts, epoch: int, monitor: str) -> float | None:
    value = next((e.logs.get(monitor) for e in facts.epochs if e.epoch == epoch), None)
    return float(value) if isinstance(value, (int, float)) else None


def _evidence(monitor: str, epoch: int, logged: float | None, used: str) -> dict[str, Any]:
    return {"monitor": monitor, "epoch": epoch, "logged": logged, "computed_with": used}


def _last_writer(facts: Facts, held: Content) -> str | None:
    """Who wrote what the model holds after fit; None where the last update did."""
    changed = facts.trace.events_of(WeightsChanged)
    if not changed or facts.trace.final is None:
        return None
    after: State = facts.trace.states[changed[-1].detail.after]
    if after.weights != facts.trace.final.weights:
        return None
    return str(changed[-1].detail.callback or "") or AT_THE_END()


def _advice(facts: Facts, used: str, *, restores: bool, saves: bool = False) -> Said:
    fit = "model.fit(x, y, epochs=..., validation_data=(x_val, y_val)"
    if used == "raw":
        return ADVICE_RAW(code=f"{fit}, callbacks=[keras.callbacks.SwapEMAWeights()])")
    if not (restores or saves):
        call = call_of_fit(facts, "early-stopping", restore_best_weights=False)
        return ADVICE_WITHOUT_SWAP(code=f"{fit},\n          callbacks=[keras.callbacks.SwapEMAWeights(), {call}])")
    second = call_of_fit(facts, "checkpoint" if saves else "early-stopping")
    code = f"""\
{fit}, callbacks=[
    keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
    {second},
])"""
    return ADVICE_SWAP(code=code)
