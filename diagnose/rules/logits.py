"""What `metric-mismatch` says of outputs without an activation (logits): a loss that takes them for probabilities, and
an accuracy that takes 0.5 for the border between two classes, which is 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from diagnose.result.diagnosis import Finding, Severity
from diagnose.result.texts import Text
from diagnose.rules.common import MATERIAL
from diagnose.rules.facts import Facts
from diagnose.rules.size import resolution
from diagnose.tracefile.about import Header

NAME: Final = "metric-mismatch"
_LOSSES: Final = ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy")

LOSS = Text(
    "metric-mismatch.logits-loss",
    "The loss {loss} takes the outputs for probabilities, and the model's last layer has no activation: they go from "
    "{low:number} to {high:number}. What is not between 0 and 1 is cut off before the logarithm, so the loss is no "
    "crossentropy, and has no gradient there.",
)
BORDER = Text(
    "metric-mismatch.logits-border",
    "{metric} does not measure this model: it counts outputs above {threshold:number} as class 1, and the outputs are "
    "logits, of which those above 0 are. With the weights after fit, {half:.1%} of the rows are right by it, and "
    "{zero:.1%} by the sign.",
)
ONE_SOFTMAX = Text(
    "metric-mismatch.one-softmax",
    "{metric} does not measure this model: its last layer is a softmax over one unit, which is 1 for every row, "
    "whatever the weights.",
)
USE_SIGMOID = Text(
    "metric-mismatch.use-sigmoid", "For two classes in one unit, a sigmoid (train again):\n\n{code:python}\n"
)
USE_LOSS = Text("metric-mismatch.logits-use-loss", "Tell the loss, and train again:\n\n{code:python}\n")
USE_BORDER = Text(
    "metric-mismatch.logits-use-border",
    "Put the border where it is:\n\n{code:python}\n\nThe training itself is not touched by this: only the metric is.\n",
)


@dataclass(frozen=True, slots=True)
class Form:
    """A crossentropy by its name, of a model with one output that has no activation, and what it takes that for."""

    loss: str
    from_logits: bool


def form(header: Header) -> Form | None:
    """None for another loss, several outputs, an activation, or where one of them is not known."""
    architecture, found = header.model.architecture, crossentropy(header)
    if found is None or not isinstance(architecture, Mapping) or len(header.model.outputs or ()) != 1:
        return None
    if _last_activation(architecture.get("model")) != "linear":
        return None
    return Form(found[0], bool(found[1].get("from_logits", False)))


def crossentropy(header: Header) -> tuple[str, Mapping[str, Any]] | None:
    """The compiled loss by its name, and its settings, where it is one of Keras's crossentropies, of one output."""
    architecture = header.model.architecture
    compiled = architecture.get("compile") if isinstance(architecture, Mapping) else None
    loss = compiled.get("loss") if isinstance(compiled, Mapping) else None
    settings: Mapping[str, Any] = {}
    if isinstance(loss, Mapping):
        config = loss.get("config")
        loss, settings = loss.get("class_name"), config if isinstance(config, Mapping) else {}
    name = {part.replace("_", ""): part for part in _LOSSES}.get(str(loss).lower().replace("_", ""))
    return None if name is None else (name, settings)


def _last_activation(model: Any) -> str | None:
    """That of the layer that makes the output, where this is a `Dense`."""
    config = model.get("config") if isinstance(model, Mapping) else None
    layers = config.get("layers") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(layers, (list, tuple)) or not layers:
        return None
    last = layers[-1]
    if "output_layers" in config:
        named = config["output_layers"]
        while isinstance(named, (list, tuple)) and named and not isinstance(named[0], str):
            named = named[0]
        name = named[0] if isinstance(named, (list, tuple)) and named else None
        last = next((x for x in layers if isinstance(x, Mapping) and x.get("name") == name), None)
    if not isinstance(last, Mapping) or last.get("class_name") != "Dense":
        return None
    settings = last.get("config")
    found = settings.get("activation") if isinstance(settings, Mapping) else None
    return found if isinstance(found, str) else None


def finding(facts: Facts) -> Finding | None:
    """None where outputs and what is computed of them fit, as far as it is known."""
    header = facts.trace.header
    outputs, compiled = header.model.outputs or (), header.metrics or ()
    softmax = (
        isinstance(header.model.architecture, Mapping)
        and len(outputs) == 1
        and (_last_activation(header.model.architecture.get("model")) == "softmax")
    )
    if softmax and compiled and (outputs[0].shape or (None,))[-1] == 1:
        title = ONE_SOFTMAX(metric=compiled[0].name)
        code = 'outputs = keras.layers.Dense(1, activation="sigmoid")'
        shown = {"metric": compiled[0].name, "output_units": 1}
        return Finding(NAME, "failed", title, shown, USE_SIGMOID(code=code), compiled[0].name)
    seen, of = facts.measured.as_logits, form(facts.trace.header)
    if not seen or of is None:
        return None
    evidence: dict[str, Any] = {"lowest_output": seen["low"], "highest_output": seen["high"]}
    if not of.from_logits:
        if seen["low"] >= 0.0 and (seen["high"] <= 1.0 or of.loss != _LOSSES[0]):
            return None
        title = LOSS(loss=of.loss, low=seen["low"], high=seen["high"])
        loss = "".join(part.capitalize() for part in of.loss.split("_"))
        code = f"model.compile(optimizer=..., loss=keras.losses.{loss}(from_logits=True), metrics=[...])"
        return Finding(NAME, "failed", title, {"metric": "loss"} | evidence, USE_LOSS(code=code), "loss")
    metric = next((m for m in facts.trace.header.metrics or () if m.function == "binary_accuracy"), None)
    if metric is None or "half" not in seen:
        return None
    moved = abs(seen["half"] - seen["zero"])
    if moved < max(MATERIAL, resolution(facts, metric.name)):
        return None
    threshold = float(metric.settings.get("threshold", 0.5))
    title = BORDER(metric=metric.name, threshold=threshold, half=seen["half"], zero=seen["zero"])
    code = "model.compile(optimizer=..., loss=..., metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])"
    evidence = {"metric": metric.name} | evidence | {"cells_right": seen["half"], "rows_right": seen["zero"]}
    watched = any(d.monitor.removeprefix("val_") == metric.name for d in facts.decisions)
    severity: Severity = "wrong" if watched else "notable"
    return Finding(NAME, "failed", title, evidence, USE_BORDER(code=code), metric.name, moved, severity=severity)
