"""A running `fit`: Keras hands its callback list, its arguments and the iterators over its data to nobody, so they are
found on the stack (`keras/src/callbacks/callback_list.py`, `keras/src/backend/*/trainer.py`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any


def callback_list_in(frame: FrameType | None) -> Any:
    """The `CallbackList` whose method a frame runs; None for any other frame."""
    import keras

    found = None if frame is None else frame.f_locals.get("self")
    return found if isinstance(found, keras.callbacks.CallbackList) else None


def locals_of_fit(frame: FrameType) -> Mapping[str, Any]:
    """The local variables of `fit`, arguments among them, from the frame of the `on_train_begin` that it called."""
    return {} if frame.f_back is None else frame.f_back.f_locals


def model_of(callback_list: Any) -> Any:
    """The model that a callback list was made for, or None. Its property `model` would force a state sync on JAX."""
    return getattr(callback_list, "_model", None)


def runs_batch_ends_apart(callback_list: Any) -> bool:
    """Whether `on_train_batch_end` runs in a thread of its own."""
    return bool(callback_list._async_train)


def began_an_epoch(checkpoint: Any) -> bool:
    """Whether a `ModelCheckpoint` was there when an epoch began, in any fit. False for any other callback."""
    return "_current_epoch" in vars(checkpoint)


def local_of_caller(function: str, name: str) -> Any:
    """The value of a local variable of the nearest calling function of that name which has it, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == function and name in frame.f_locals:
            return frame.f_locals[name]
        frame = frame.f_back
    return None


def iterator_of_evaluate() -> Any:
    """What the calling `evaluate` iterates over, or None."""
    return local_of_caller("evaluate", "epoch_iterator")


def iterator_of_fit(locals_of_fit: Mapping[str, Any]) -> Any:
    """What `fit` iterates over, from its local variables."""
    return locals_of_fit.get("epoch_iterator")


def validation_of_fit(locals_of_fit: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) that `fit` validates on, split off or given; None where there is none."""
    x, y, sample_weight = (locals_of_fit.get(name) for name in ("val_x", "val_y", "val_sample_weight"))
    return x, y, sample_weight


def fit_runs(callback_list: Any) -> bool:
    """Whether the fit with these callbacks runs, in any thread."""
    if callback_list is None:
        return False
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code.co_name == "fit" and frame.f_locals.get("callbacks") is callback_list:
                return True
            frame = frame.f_back
    return False


# ── what is iterated over (`keras/src/trainers/epoch_iterator.py`) ──


def adapter(epoch_iterator: Any) -> str:
    """The class of Keras that takes batches from this kind of data."""
    return type(getattr(epoch_iterator, "data_adapter", None)).__name__


def steps(epoch_iterator: Any) -> int | None:
    """Of one epoch, where Keras knows: `steps_per_epoch`, or all batches."""
    found: int | None = getattr(epoch_iterator, "num_batches", None)
    return found


def batches(epoch_iterator: Any) -> int | None:
    """All batches of the data, where Keras knows their number."""
    found: int | None = getattr(epoch_iterator, "_num_batches", None)
    return found
