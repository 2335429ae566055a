"""Rule `wrong-direction`: a callback looks for the lowest of a metric that is better the higher it is, or the other way
round (keras#15138, #18798).

Until 3.8, Keras's `ModelCheckpoint` and `ReduceLROnPlateau` take the direction from the name (`"acc" in monitor`), so
that `val_auc` is minimised; later ones ask the metric where `mode="auto"`, and only a `mode` that is given is wrong.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from diagnose.decide.watchers import Watcher, best_epoch, watchers
from diagnose.result.diagnosis import Finding
from diagnose.result.texts import Said, Text
from diagnose.rules.common import NOT_WATCHED, not_applicable
from diagnose.rules.facts import Facts
from diagnose.rules.own_call import own_call
from diagnose.tracefile.model import Epoch

NAME = "wrong-direction"

Direction = Literal["min", "max"]

HIGHER: Final = frozenset({
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "AUC", "Precision", "Recall", "SensitivityAtSpecificity",
    "SpecificityAtSensitivity", "PrecisionAtRecall", "RecallAtPrecision", "TruePositives", "TrueNegatives",
    "FBetaScore", "F1Score", "IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "CosineSimilarity",
    "R2Score", "PearsonCorrelation", "ConcordanceCorrelation",
})  # fmt: skip
LOWER: Final = frozenset({
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError",
    "RootMeanSquaredError", "LogCoshError", "BinaryCrossentropy", "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy", "KLDivergence", "Poisson", "Hinge", "SquaredHinge", "CategoricalHinge",
    "FalsePositives", "FalseNegatives",
})  # fmt: skip
"""Metric classes of Keras by what a better value is, from their definitions; Keras's own `_direction` agrees where it
has one (held by a test)."""

HIGHER_FUNCTIONS: Final = frozenset({
    "accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy",
    "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy",
})  # fmt: skip
LOWER_FUNCTIONS: Final = frozenset({
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_logarithmic_error",
    "log_cosh", "huber", "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
    "kl_divergence", "poisson", "hinge", "squared_hinge", "categorical_hinge",
})  # fmt: skip
"""Functions of Keras that `MeanMetricWrapper` averages."""

NOT_KNOWN = Text(
    "wrong-direction.not-known", "Which way is better is not known for {monitors:quoted}: no metric that Keras defines."
)
NOT_COMPARED = Text("wrong-direction.not-compared", "No callback compared two different values in this fit.")
LOOKS_FOR = Text("wrong-direction.looks-for", "{callback} the {better:select(min=lowest|max=highest)} '{monitor}'")
RIGHT = Text("wrong-direction.right", "Each looks for the better values: {callbacks:list}.")
_LOOKS = (
    "{callback} looks for the {direction:select(min=lowest|max=highest)} {monitor}{mode:given( (mode='{mode}'))}, "
    "which is better the {better:select(min=lower|max=higher)} it is. "
)
_BEST = "; the best was epoch {best_epoch} ({best:number})."
LOWERED = Text(
    "wrong-direction.lowered",
    f"{_LOOKS}It {{rates:given(lowered the learning rate after epoch {{rates:list}}, counting|counts)}} from epoch "
    f"{{kept_epoch}} ({{kept:number}}){_BEST}",
)
SAVED = Text("wrong-direction.saved", f"{_LOOKS}Its file holds epoch {{kept_epoch}} ({{kept:number}}){_BEST}")
TOOK = Text(
    "wrong-direction.took",
    f"{_LOOKS}It took epoch {{kept_epoch}} ({{kept:number}}) for the best{{did:select(stopped= and stopped training "
    "after epoch {last}|holds=, whose weights the model now holds|both=, whose weights the model now holds, and "
    f"stopped training after epoch {{last}}|none=)}}{_BEST}",
)
ADVICE = Text(
    "wrong-direction.advice",
    'Say which way is better, whatever the release takes "auto" for:\n\n{code:python}\n',
)


def check(facts: Facts) -> Finding:
    """Fails where a callback's comparison runs against the direction of the metric it watches, and it compared
    different values."""
    watching = watchers(facts.trace)
    if not watching:
        return not_applicable(NAME, NOT_WATCHED())
    known = [(w, _better(facts, w.monitor)) for w in watching]
    if all(better is None for _, better in known):
        return not_applicable(NAME, NOT_KNOWN(monitors=[w.monitor for w in watching]))
    judged = [(w, better, _values(facts, w)) for w, better in known if better is not None and w.direction is not None]
    judged = [(w, better, values) for w, better, values in judged if len({v for _, v in values}) > 1]
    if not judged:
        return not_applicable(NAME, NOT_COMPARED())
    wrong = [x for x in judged if x[0].direction != x[1]]
    if wrong:
        return _failed(facts, wrong[0][0], wrong[0][1], wrong[0][2], [w.callback for w, _, _ in wrong])
    names = [LOOKS_FOR(callback=w.callback, better=better, monitor=w.monitor) for w, better, _ in judged]
    monitors = [w.monitor for w, _, _ in judged]
    return Finding(NAME, "passed", RIGHT(callbacks=names), {"monitors": monitors}, "")


def _failed(
    facts: Facts, w: Watcher, better: Direction, values: list[tuple[Epoch, float]], callbacks: list[str]
) -> Finding:
    direction = w.direction
    assert direction is not None
    kept = next((pair for pair in values if pair[1] == w.best), best_epoch(values, direction))
    best = best_epoch(values, better)
    rates = [e.epoch for e in _lowered(facts, w)]
    evidence: dict[str, Any] = {
        "callback": w.callback,
        "monitor": w.monitor,
        "mode": w.settings.get("mode"),
        "compared_for": direction,
        "better": better,
        "kept_epoch": kept[0].epoch,
        "kept_logged": kept[1],
        "best_epoch": best[0].epoch,
        "best_logged": best[1],
        "last_epoch": facts.epochs[-1].epoch,
        "rate_lowered_in_epochs": rates,
        "callbacks": callbacks,
    }
    said: dict[str, Any] = {
        "callback": w.callback,
        "direction": direction,
        "monitor": w.monitor,
        "mode": None if w.settings.get("mode") in (None, "auto") else str(w.settings["mode"]),
        "better": better,
        "kept_epoch": kept[0].epoch,
        "kept": kept[1],
        "best_epoch": best[0].epoch,
        "best": best[1],
    }
    if w.kind == "plateau":
        title = LOWERED(**said, rates=rates)
    elif w.kind == "checkpoint":
        title = SAVED(**said)
    else:
        title = TOOK(**said, did=_did(facts, w, kept[0]), last=facts.epochs[-1].epoch)
    effect = None if w.kind == "plateau" else abs(kept[1] - best[1])
    return Finding(NAME, "failed", title, evidence, _advice(w, better), w.monitor, effect)


def _did(facts: Facts, w: Watcher, kept: Epoch) -> str:
    """What an EarlyStopping did: "stopped", the model "holds" its best, "both" or "none"."""
    r = facts.restoration
    stopped = any(e.kind == "stop-requested" and e.detail.get("callback") == w.callback for e in facts.trace.events)
    if r is not None and r.callback == w.callback and r.monitor == w.monitor and r.restored_epoch == kept.epoch:
        return "both" if stopped else "holds"
    return "stopped" if stopped else "none"


def _values(facts: Facts, w: Watcher) -> list[tuple[Epoch, float]]:
    begins = int(w.settings.get("start_from_epoch") or 0) if w.kind == "early-stopping" else 0
    return [(e, v) for e, v in w.valued(facts.trace) if e.epoch > begins]


def _lowered(facts: Facts, w: Watcher) -> list[Any]:
    return [e for e in facts.trace.events if e.kind == "learning-rate" and e.detail.get("callback") == w.callback]


def _better(facts: Facts, monitor: str) -> Direction | None:
    """Which way the watched value is better by definition; None where Keras does not define the metric."""
    name = monitor.removeprefix("val_")
    info = facts.trace.info
    of_loss = {str(v.get("log")) for v in info.get("metric_variables") or [] if v.get("of_loss")}
    if name == "loss" or name in of_loss:
        # What fit minimises; a step of the user's own may log anything under that name.
        own = (info.get("compile") or {}).get("custom_train_step")
        return None if own else "min"
    found = {_of_metric(m) for m in info.get("metrics") or [] if m["name"] == name}
    return found.pop() if len(found) == 1 else None


def _of_metric(metric: dict[str, Any]) -> Direction | None:
    if not metric.get("builtin"):
        return None
    if metric["class"] in HIGHER:
        return "max"
    if metric["class"] in LOWER:
        return "min"
    function = metric.get("function") if metric["class"] == "MeanMetricWrapper" else None
    return "max" if function in HIGHER_FUNCTIONS else "min" if function in LOWER_FUNCTIONS else None


def _advice(w: Watcher, better: Direction) -> Said:
    return ADVICE(code=own_call(w, mode=better))
