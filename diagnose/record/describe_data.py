"""Describes in JSON what stands between model and data: outputs, compiled metrics, the validation data. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnose.frameworks.keras.fits import validation_of_fit
from diagnose.frameworks.keras.metrics import direction_of, function_of, metric_groups, output_name, settings_of
from diagnose.frameworks.keras.origin import by_keras
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json


def outputs(model: Any) -> list[dict[str, Json]] | None:
    """Name and shape of each output (None: any size); None for a subclassed model, whose outputs are not declared."""
    try:
        tensors = list(model.outputs)
        names = list(getattr(model, "output_names", None) or [t.name for t in tensors])  # Sequential has none
        return [{"name": n, "shape": list(t.shape)} for n, t in zip(names, tensors, strict=True)]
    except Exception as error:
        let_through(error)
        return None


def metrics(model: Any) -> list[dict[str, Json]]:
    """One entry per compiled metric, as Keras resolved it in the first step: name in the logs, number of the output it
    is for, class and whether that is Keras's own, which way it is better (None: Keras does not say), and the function
    of Keras it averages, with its settings (None: another, or none)."""
    found: list[dict[str, Json]] = []
    for weighted, output, group in metric_groups(model):
        prefix = output_name(group)
        for metric in group.metrics:
            function = function_of(metric)
            found.append(
                {
                    "name": f"{prefix}_{metric.name}" if prefix else metric.name,
                    "output": output,
                    "weighted": weighted,
                    "class": type(metric).__name__,
                    "builtin": by_keras(type(metric)),
                    "function": getattr(function, "__name__", None) if by_keras(function) else None,
                    "direction": direction_of(metric),
                    "settings": _numbers(settings_of(metric)),
                }
            )
    return found


def _numbers(settings: Mapping[str, Any]) -> dict[str, Json]:
    return {str(name): value for name, value in settings.items() if isinstance(value, (bool, int, float, str))}


def validation(locals_of_fit: Mapping[str, Any]) -> dict[str, Json]:
    """Rows (arrays) or batches (`tf.data`) of the validation data, where known, and whether it is the training data
    itself."""
    x, val_x = locals_of_fit.get("x"), validation_of_fit(locals_of_fit)[0]
    found: dict[str, Json] = {"validation_is_training": val_x is not None and val_x is x}
    try:
        shape, cardinality = getattr(val_x, "shape", None), getattr(val_x, "cardinality", None)
        if shape is not None:
            found["validation_rows"] = int(shape[0])
        elif locals_of_fit.get("validation_steps") is not None and cardinality is not None:
            batches = int(cardinality())
            found["validation_batches"] = batches if batches >= 0 else None
    except Exception as error:
        let_through(error)
    return found
