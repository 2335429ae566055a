"""Borrows the user's model for replay and gives it back exactly as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diagnose.model_state import state_variables
from diagnose.replay.backends import current_backend

_KEPT = (
    "train_function", "test_function", "predict_function", "stop_training", "stop_evaluating", "_eval_epoch_iterator",
    "_jax_state", "_jax_state_synced", "history",
)  # fmt: skip
_MISSING = object()


@contextlib.contextmanager
def borrowed(model: Any, compiled: Mapping[str, Any]) -> Iterator[None]:
    """Within: the model as it was compiled for the traced fit. After: every variable, metric, function and flag as
    before.

    Args:
        compiled: what `compile` made for that fit (see `diagnose.record.run.COMPILED`); empty for a model
        that is still
            compiled as it was.
    """
    current = {name: getattr(model, name, None) for name in compiled}
    flags = {name: _get(model, name) for name in _KEPT}
    for name, part in compiled.items():
        if current[name] is not part:
            # Not by setattr: a Keras model keeps every metric that is set on it, and would report it from then on.
            object.__setattr__(model, name, part)
    if any(current[name] is not part for name, part in compiled.items()):
        # Compiled again since: the functions at hand update the new metrics.
        for name in ("train_function", "test_function", "predict_function"):
            setattr(model, name, None)
    backend = current_backend()
    contents_of, parts_of = backend.contents, backend.parts
    slots = list(model.optimizer.variables) if model.optimizer is not None else []
    variables = [*state_variables(model), *model.metrics_variables, *slots]
    parts = [part for v in variables for part in parts_of(v) if _readable(contents_of, part)]
    contents = [(contents_of(part), backend.place(part)) for part in parts]
    losses = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in model._flatten_layers()]
    training = getattr(model, "training", None)  # torch.nn.Module
    try:
        with current_backend().generators_apart():
            yield
    finally:
        for part, (content, place) in zip(parts, contents, strict=True):
            same = _holds(contents_of, part, content)
            if not same or backend.place(part) != place:
                backend.put(part, content, place)
        for layer, own, ids in losses:
            layer._losses[:] = own
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)
        for name, value in flags.items():
            _set(model, name, value)
        if isinstance(training, bool) and model.training != training:
            model.train(training)
        for name, compiled_part in current.items():
            if getattr(model, name, None) is not compiled_part:
                object.__setattr__(model, name, compiled_part)


def _holds(contents_of: Any, part: Any, content: Any) -> bool:
    try:
        return np.array_equal(contents_of(part), content, equal_nan=content.dtype.kind in "fc")
    except RuntimeError:
        # JAX: after a fit, moving averages share buffers with the weights, and evaluate gives those away.
        return False


def _readable(contents_of: Any, part: Any) -> bool:
    try:
        contents_of(part)
    except RuntimeError:
        # JAX: after a fit with `use_ema`, the averages share buffers with the weights (Keras 3.15.1), and a call of
        # `evaluate` by the user gave those away; what is in them is lost to everybody.
        return False
    return True


def _get(model: Any, name: str) -> Any:
    return getattr(model, name, _MISSING)


def _set(model: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        if hasattr(model, name):
            delattr(model, name)
    elif getattr(model, name, _MISSING) is not value:
        setattr(model, name, value)
