"""A callback's constructor call as the user made it, with named changes: what advice pastes. Nothing else in it
differs, so that advice on one setting never changes another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from diagnose.decide.better import believed
from diagnose.decide.clock import metric_of
from diagnose.decide.watched import Kind, Watcher, watchers
from diagnose.rules.facts import Facts

CLASSES: Final[dict[Kind, str]] = {
    "early-stopping": "EarlyStopping", "checkpoint": "ModelCheckpoint", "plateau": "ReduceLROnPlateau",
}  # fmt: skip

_DEFAULTS: Final[dict[Kind, dict[str, Any]]] = {
    "early-stopping": {
        "monitor": None, "mode": "auto", "min_delta": 0, "patience": 0, "baseline": None,
        "restore_best_weights": False, "start_from_epoch": 0, "verbose": 0,
    },
    "checkpoint": {
        "filepath": None, "monitor": None, "mode": "auto", "save_best_only": False, "save_weights_only": False,
        "save_freq": "epoch", "verbose": 0,
    },
    "plateau": {
        "monitor": None, "mode": "auto", "factor": 0.1, "patience": 10, "min_delta": 1e-4, "cooldown": 0,
        "min_lr": 0, "verbose": 0,
    },
}  # fmt: skip
"""Parameters of the constructors, in the order they are written, with Keras's defaults (3.8 to 3.15.1); None: always
written."""

USUAL: Final[dict[Kind, dict[str, Any]]] = {
    "early-stopping": {"monitor": "val_loss", "patience": 5, "restore_best_weights": True},
    "checkpoint": {"filepath": "best.keras", "monitor": "val_loss", "save_best_only": True},
    "plateau": {"monitor": "val_loss"},
}
"""What is advised where the user has no such callback."""


class Code(str):
    """A changed value that is Python text, not a value."""


def own_call(callback: Watcher, *, name: str | None = None, **changes: Any) -> str:
    """`keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)`, by the settings recorded for this callback.

    Args:
        name: of the class, in the place of Keras's.
        changes: what the advice is about; a value that is text of Python is a `Code`.
    """
    settings = dict(callback.settings)
    if "filepath" in settings:
        settings["filepath"] = _path(settings["filepath"])
    # Of another metric, the direction that was taken for this one says nothing.
    same = changes.get("monitor", callback.monitor).removeprefix("val_") == callback.monitor.removeprefix("val_")
    if settings.get("mode") not in ("min", "max"):
        settings["mode"] = callback.direction if same and callback.direction else "auto"
    return _call(_kind(callback), name, {**settings, **changes})


def _kind(callback: Watcher) -> Kind:
    return callback.kind if callback.kind in ("checkpoint", "plateau") else "early-stopping"


def call_for_another(facts: Facts, callback: Watcher, monitor: str) -> str:
    """The user's own call with the value of another metric, of which direction, baseline and smallest change of the
    first say nothing."""
    usual = _DEFAULTS[_kind(callback)].get("min_delta")
    mode = believed(facts.trace, metric_of(facts.trace, monitor))
    by_itself = monitor.removeprefix("val_") == "loss" or mode is None  # as Keras takes it
    return own_call(callback, monitor=monitor, mode="auto" if by_itself else mode, baseline=None, min_delta=usual)


def renamed(filepath: Any, more: str) -> str:
    """The user's file name with more before its ending: `best-last.keras`."""
    name = str(_path(filepath) or "best.keras")
    ending = ".weights.h5" if name.endswith(".weights.h5") else PurePath(name).suffix
    return f"{name.removesuffix(ending)}-{more}{ending}"


def numbered(filepath: Any, number: str) -> Code:
    """The same with a number, `f"best-{fold}.keras"`: a file for each. Keras fills in other fields of the name."""
    name = str(filepath or "").replace("{", "{{").replace("}", "}}")
    return Code(f"f{json.dumps(renamed(name, f'{{{number}}}'))}")


def call_of_fit(facts: Facts, kind: Kind, **changes: Any) -> str:
    """The same for the first callback of this kind; where there is none, `USUAL` with the changes."""
    found = next((w for w in watchers(facts.trace) if w.kind == kind), None)
    return call_with(kind, **changes) if found is None else own_call(found, **changes)


def call_with(kind: Kind, **settings: Any) -> str:
    """A call that is not the user's: `USUAL`, or with these settings."""
    return _call(kind, None, {**USUAL[kind], **settings})


def deciding_call(facts: Facts, decisions: list[Watcher]) -> str:
    """The call that rests on a training value, of an EarlyStopping before a checkpoint, on the validation value of the
    same metric, which a value that the user's own code logs does not have."""
    names = ["loss", *(m.name for m in facts.trace.header.metrics or ())]
    kinds = ("early-stopping", "checkpoint")
    found = next((d for kind in kinds for d in decisions if d.kind == kind and d.monitor in names), None)
    if found is None:
        return call_with("early-stopping")
    if found.kind == "checkpoint":
        return own_call(found, monitor=f"val_{found.monitor}")
    return own_call(found, monitor=f"val_{found.monitor}", restore_best_weights=True)


def _call(kind: Kind, name: str | None, settings: Mapping[str, Any]) -> str:
    parts = []
    for parameter, default in _DEFAULTS[kind].items():
        value = settings.get(parameter, default)
        if parameter == "min_delta" and isinstance(value, (int, float)):
            value = abs(value)  # Keras turns its sign where less is better
        if isinstance(value, Code):
            text = str(value)
        elif value == default or not isinstance(value, (bool, int, float, str)):
            continue
        else:
            text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if type(value) is str else repr(value)
        parts.append(text if parameter == "filepath" else f"{parameter}={text}")
    return f"{name or f'keras.callbacks.{CLASSES[kind]}'}({', '.join(parts)})"


def _path(value: Any) -> Any:
    """Reports are passed on: of an absolute path, the name is enough."""
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value
