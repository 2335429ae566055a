"""Values of single states that one rule or table asks about: what a fit started from, an average of weights, a saved
file, states of layers set to zero."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from diagnose.analysis.chosen import is_short
from diagnose.decide.averages import Averages, set_at_end
from diagnose.decide.kept import MOST_EVALUATED, kept_by, saved_models, state_saved
from diagnose.decide.watched import Watcher
from diagnose.errors import ReplayError
from diagnose.result.diagnosis import SavedModel
from diagnose.result.measurements import Scored, Tested
from diagnose.rules import logits
from diagnose.rules.labels import flat_labels, one_hot
from diagnose.rules.random_evaluate import alike
from diagnose.tracefile.about import Metric
from diagnose.tracefile.model import NDArray, State

if TYPE_CHECKING:
    from diagnose.replay.engine import Engine
    from diagnose.replay.replayer import Replayer
    from diagnose.replay.runs import EvaluationData

Validate = Callable[[State, int], Mapping[str, float]]
"""The validation metrics of a state over the batches of an epoch's pass."""


def started(replayer: Replayer) -> dict[str, float]:
    """Metrics of the weights this fit started from, where it continues an earlier one; else empty."""
    trace = replayer.trace
    continues = (trace.header.start is not None and trace.header.start.previous is not None) or any(
        s.epoch > 1 for s in trace.steps[:1]
    )
    try:
        return replayer.evaluate_state(replayer.states.before(trace.steps[0])) if continues and trace.steps else {}
    except ReplayError:
        return {}


def ema_values(replayer: Replayer, decisions: Sequence[Watcher], validate: Validate) -> dict[str, dict[str, float]]:
    """Metrics of the average that Keras put into the model at the end ("average"), and of what a ModelCheckpoint saved
    ("saved"); empty where the optimizer keeps no average."""
    trace = replayer.trace
    if Averages.of(trace) is None:
        return {}
    states = {"average": set_at_end(trace)}
    for decision in decisions:
        found = kept_by(trace, decision) if decision.kind == "checkpoint" else None
        if found is not None:
            states["saved"] = found.state
    last = trace.evaluations[-1].epoch if trace.evaluations else 0
    values: dict[str, dict[str, float]] = {}
    for name, state in states.items():
        if state is not None:
            with contextlib.suppress(ReplayError):
                values[name] = {**replayer.evaluate_state(state), **validate(state, last)}
    return values


def from_zero_state(replayer: Replayer) -> dict[str, float]:
    """What `evaluate` would return, had the states of stateful layers been zero before."""
    try:
        return replayer.evaluate_from_zero(replayer.states.final())
    except ReplayError:
        return {}


def evaluated(replayer: Replayer, data: EvaluationData) -> dict[str, float]:
    """The framework's own `evaluate` with the weights after fit; replay's where that cannot be had alike."""
    state = replayer.states.final()
    if data.composite or not replayer.evaluates_alike:
        return replayer.evaluate_state(state)
    return replayer.engine.evaluate(replayer.states.arrays(state), data, replayer.states.copies(state))


def in_default_batches(replayer: Replayer, data: EvaluationData, evaluated: Mapping[str, float]) -> dict[str, float]:
    """What `evaluate` returns in batches of the size it takes when it is given none, of those metrics that then have
    another value than in batches of fit's size; empty where the sizes are the same."""
    engine, state = replayer.engine, replayer.states.final()
    size = engine.batch_size
    if engine.carried or engine.fixed_size is not None or all(engine.pooled(name) for name in evaluated):
        return {}
    if size == data.batch_size or data.rows <= min(size, data.batch_size):
        return {}
    if data.composite or not replayer.evaluates_alike:
        return {}
    from diagnose.replay.check import relative_tolerance

    arrays, copies = replayer.states.arrays(state), replayer.states.copies(state)
    found = engine.evaluate(arrays, replace(data, batch_size=size), copies)
    near = relative_tolerance(replayer)
    return {name: v for name, v in found.items() if abs(v - evaluated.get(name, v)) > near * max(abs(v), 1e-3)}


def in_one_batch(replayer: Replayer, data: EvaluationData, evaluated: Iterable[str]) -> dict[str, float]:
    """What `evaluate` would return for all rows in one batch, where the class of an `evaluated` metric does not tell
    that its value is the same for any batches; else empty."""
    from diagnose.replay import evaluation

    if replayer.engine.carried or all(replayer.engine.pooled(name) for name in evaluated):
        return {}
    batch = evaluation.in_one_batch(data)
    try:
        return {} if batch is None else replayer.over(replayer.states.final(), [batch])
    except ReplayError:
        return {}


FEW_ROWS: Final = 4096
"""Rows whose predictions are looked at."""


def _predicted(replayer: Replayer, data: EvaluationData) -> Iterator[tuple[list[Any], list[NDArray]]]:
    """(labels, predictions) by output, batch by batch, of the first rows, with the weights after fit."""
    from diagnose.replay.runs import BatchRun

    names = [str(o.name) for o in replayer.trace.header.model.outputs or ()]
    values, rows = None, 0
    for batch in data.batches:
        if rows >= FEW_ROWS:
            return
        rows += batch.size
        values = values or replayer.states.values(replayer.states.final())
        run = BatchRun(values, batch, None, None, batch.fixed, None)
        yield list(flat_labels(batch.y, names)), replayer.engine.predictions(run)


def rows_right(replayer: Replayer, data: EvaluationData) -> dict[str, dict[str, float]]:
    """Of metrics that count cells, where labels are one-hot (or 0 and 1, for an output of one number that is compared
    as it is): the share of cells that they count, and of rows that are right."""
    header = replayer.trace.header
    counted = [m for m in header.metrics or () if m.function in ("binary_accuracy", "accuracy")]
    if not counted or not data.batches:
        return {}
    first = list(flat_labels(data.batches[0].y, [str(o.name) for o in header.model.outputs or ()]))
    if not any((m.output or 0) < len(first) and _tells_rows(m, first[m.output or 0]) for m in counted):
        return {}
    sums: dict[str, list[float]] = {}
    for labels, predicted in _predicted(replayer, data):
        asked = [m for m in counted if (m.output or 0) < len(labels)]
        asked = [m for m in asked if _tells_rows(m, labels[m.output or 0])]
        if not asked:
            break
        for metric in asked:
            label, output = labels[metric.output or 0], predicted[metric.output or 0]
            label = label.reshape(len(label), -1)
            if output.shape == label.shape:
                over = (output > float(metric.settings.get("threshold", 0.5))) == (label == 1)
                counts = over if metric.function == "binary_accuracy" else output == label
                largest = output.argmax(axis=1) == label.argmax(axis=1)
                found = sums.setdefault(metric.name, [0.0, 0.0, 0.0])
                found[0] += float(counts.mean(axis=1).sum())
                found[1] += float((largest if label.shape[1] > 1 else over[:, 0]).sum())
                found[2] += len(label)
    return {name: {"cells": cells / n, "rows": right / n} for name, (cells, right, n) in sums.items()}


def as_logits(replayer: Replayer, data: EvaluationData) -> dict[str, float]:
    """Of an output without activation that a crossentropy is computed of: the lowest and highest prediction, and for
    two classes the share of rows that are right by the metric's threshold ("half") and by the sign ("zero")."""
    header = replayer.trace.header
    if logits.form(header) is None:
        return {}
    metric = next((m for m in header.metrics or () if m.function == "binary_accuracy"), None)
    threshold = 0.5 if metric is None else float(metric.settings.get("threshold", 0.5))
    low, high, half, zero, rows, same = math.inf, -math.inf, 0, 0, 0, True
    for given, predicted in _predicted(replayer, data):
        output, labels = predicted[0], np.asarray(given[0])
        low, high = min(low, float(output.min())), max(high, float(output.max()))
        rows += len(output)
        same = same and labels.size == output.size == len(output) and bool(np.isin(labels, (0, 1)).all())
        if same:
            half += int(((output.reshape(-1) > threshold) == (labels.reshape(-1) == 1)).sum())
            zero += int(((output.reshape(-1) > 0.0) == (labels.reshape(-1) == 1)).sum())
    found = {"low": low, "high": high}
    return found | {"half": half / rows, "zero": zero / rows} if same and rows else found if rows else {}


def _tells_rows(metric: Metric, labels: object) -> bool:
    """Whether these labels tell which output is right."""
    if not isinstance(labels, np.ndarray) or labels.ndim not in (1, 2) or not len(labels):
        return False
    if labels.ndim == 1 or labels.shape[1] == 1:
        return metric.function == "accuracy" and bool(np.isin(labels.astype(np.float64), (0.0, 1.0)).all())
    return one_hot([labels, labels[::-1]], labels.shape[1])


def evaluated_twice(
    replayer: Replayer, data: EvaluationData, evaluated: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """The same weights over the same rows, evaluated two times by the framework itself, each time with other states of
    the model's seeds. Where the model has no such states, and replay gives what evaluate did, that is shown instead;
    empty where nothing can be compared."""
    if not data.batches or data.composite or not replayer.evaluates_alike:
        return {}
    state, engine = replayer.states.final(), replayer.engine
    places = [v for v in replayer.trace.header.variables if v.group != "replica"]
    seeds = [i for i, v in enumerate(places) if v.group == "seed"]
    if not seeds:
        once = replayer.evaluate_state(state)
        if once and all(alike(value, evaluated.get(name, value)) for name, value in once.items()):
            return {name: {"first": value, "second": once[name]} for name, value in evaluated.items() if name in once}
    batch = data.batches[0]
    part = replace(data, batches=(batch,), batch_size=batch.size)
    arrays, copies = replayer.states.arrays(state), replayer.states.copies(state)

    def once_more(step: int) -> dict[str, float]:
        held = list(arrays)
        for i in seeds:
            held[i] = held[i] + np.asarray(step, held[i].dtype)
        return engine.evaluate(held, part, copies)

    first = once_more(1)
    second = replayer.over(state, [batch], fixed=len({b.size for b in data.batches}) == 1)
    if not all(alike(value, second.get(name, value)) for name, value in first.items()):
        second = once_more(2)
    return {name: {"first": value, "second": second[name]} for name, value in first.items() if name in second}


def scored(replayer: Replayer, epochs: Iterable[int]) -> dict[int, Scored]:
    """For a model with a train step of its own, which may score before or after its update."""
    found = {}
    for epoch in epochs if replayer.engine.own_train else ():
        with contextlib.suppress(ReplayError):
            found[epoch] = Scored(replayer.scored(epoch, "before"), replayer.scored(epoch, "after"))
    return found


def step_returned(replayer: Replayer | None) -> dict[str, float]:
    """What the last recorded step of a model with a train step of its own returns, from metrics that were just reset;
    else empty."""
    from diagnose.replay.engine import TRAINING

    if replayer is None or not replayer.engine.own_train or not replayer.trace.steps:
        return {}
    engine = replayer.engine
    try:
        (done,) = engine.forward(replayer.step_run(replayer.trace.steps[-1]), [engine.fresh()], [TRAINING])
    except ReplayError:
        return {}
    return _numbers(engine, done.logs)


def tested(replayer: Replayer | None) -> Tested | None:
    """What a test step of the model's own does with the first batch of the evaluation data and the weights after fit;
    None where it has none, or it returns other names than those of its metrics."""
    from diagnose.replay.engine import Mode

    final = None if replayer is None else replayer.trace.final
    if replayer is None or final is None or not replayer.engine.own_test or not replayer.evaluation:
        return None
    engine, described = replayer.engine, replayer.trace.header.metric_variables
    began = [np.array(engine.array(value)) for value in engine.fresh()]
    reset = engine.results(engine.fresh())
    if len(began) != len(described):
        return None
    run = next(iter(replayer.one_state(final, replayer.evaluation[:1])))
    (done,) = engine.forward(run, [engine.fresh()], [Mode(frozenset(), False)])
    if set(done.logs or {}) != set(reset):
        return None  # then what the step returns is logged, not what metrics have
    same = [a.tobytes() == engine.array(b).tobytes() for a, b in zip(began, done.metrics, strict=True)]
    unmoved = {v.log for v in described} - {v.log for v, alike in zip(described, same, strict=True) if not alike}
    found = {name: value for name, value in reset.items() if name in unmoved}
    return Tested(found, _numbers(engine, done.logs))


def _numbers(engine: Engine, logs: Mapping[str, Any] | None) -> dict[str, float]:
    """A step may return anything, a text or a dict among it."""
    found = {name: np.asarray(engine.array(value)) for name, value in (logs or {}).items() if value is not None}
    return {name: float(value) for name, value in found.items() if value.ndim == 0 and value.dtype.kind in "biuf"}


def end_of_epoch(replayer: Replayer, epochs: Iterable[int]) -> dict[int, dict[str, float]]:
    """Over an epoch's own batches, in training mode, with its last weights; of epochs with a ledger, which were
    replayed to this point already."""
    from diagnose.replay.replayer import Setting

    last = Setting("epoch-end", frozenset(), True, "fit")
    return {epoch: replayer.value(last, epoch) for epoch in epochs}


def saved(replayer: Replayer, validate: Validate) -> tuple[SavedModel, ...]:
    """The files that callbacks wrote, the last ones with the values of the weights in them."""
    found, known = saved_models(replayer.trace), dict[int, Mapping[str, float]]()
    for entry in found[-MOST_EVALUATED:]:
        if entry.metric is not None and entry.event not in known:
            state = state_saved(replayer.trace, entry)
            with contextlib.suppress(ReplayError):
                if state is not None:
                    values = replayer.evaluate_state(state, coarse=not is_short(replayer.trace))
                    known[entry.event] = {**values, **validate(state, entry.epoch or 0)}
    return tuple(replace(s, value=known.get(s.event, {}).get(s.metric or "")) for s in found)
