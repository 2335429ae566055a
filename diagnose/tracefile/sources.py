"""From where each value of the logs comes, told by its name and by what else is known of the fit: the one place for it.
A recorder notes it in the header; of traces of format 1 it is found when they are read. Judges nothing."""

from __future__ import annotations

from collections.abc import Collection

from diagnose.tracefile.about import Callback, Header, Source

OURS = ("ReevaluatedMetrics", "OwnedEarlyStopping")
"""Callbacks of `diagnose.callbacks`, which evaluate with the weights an epoch ends with."""
VALIDATION = "val_"
"""What Keras puts before the names of a validation pass."""


def source_of(name: str, header: Header, validated: Collection[str]) -> Source:
    """By what a value was computed. `validated`: the names, without `val_`, that validation passes gave."""
    if name.startswith(VALIDATION):
        return "validation"
    if name.startswith(prefixes(header)):
        return "end-of-epoch"
    if name == "learning_rate":
        return "learning-rate"
    return "own" if _added(name, header, validated) else "train-steps"


def prefixes(header: Header) -> tuple[str, ...]:
    """What the names of values evaluated at the end of the epoch begin with; empty where no callback did that."""
    found = (cb.settings.get("prefix") for cb in header.callbacks if any(name in OURS for name in cb.family))
    return tuple(dict.fromkeys(prefix for prefix in found if isinstance(prefix, str) and prefix))


def metric_of(name: str, header: Header) -> str:
    """The metric a name in the logs stands for: without `val_`, or what a callback of ours put before it."""
    return next((name.removeprefix(p) for p in (VALIDATION, *prefixes(header)) if name.startswith(p)), name)


def _added(name: str, header: Header, validated: Collection[str]) -> bool:
    """Whether a callback of the user's put it into the logs: no metric of the model has the name, and there is such a
    callback. A train step of the user's own may log anything, and so may who ends the epochs of a loop."""
    variables = header.metric_variables
    if not variables or name == "loss" or header.compile.custom_train_step:
        return False
    known = {v.metric for v in variables} | {v.log for v in variables} | {m.name for m in header.metrics or ()}
    return name not in known and name not in validated and any(_of_users(cb) for cb in header.callbacks)


def _of_users(cb: Callback) -> bool:
    """A `LambdaCallback` does what the user's functions do."""
    return (not cb.builtin or cb.class_name == "LambdaCallback") and "on_epoch_end" in cb.hooks
