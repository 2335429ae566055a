"""Sets probes between the callbacks of a fit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras

from diagnose.frameworks.keras.fits import runs_batch_ends_apart
from diagnose.frameworks.keras.origin import by_keras
from diagnose.record import describe
from diagnose.record.callback_state import SavedFile, quiet_in_batches, saved_file
from diagnose.record.light import INPUTS
from diagnose.record.outside import Outside
from diagnose.record.probe import BatchBeginProbe, BatchProbe, FirstProbe, LastProbe, Probe
from diagnose.record.recorder import Recorder

_UNPROBED = (keras.callbacks.History, keras.callbacks.ProgbarLogger)
_IN_BATCHES = {"on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"}


def set_probes(
    recorder: Recorder,
    callback_list: Any,
    tracer: tuple[Any, Any],
    callbacks: Sequence[Any],
    on_start: Callable[[], None],
    on_end: Callable[[], None],
) -> Callable[[], None]:
    """Sets probes between the callbacks. The list in use is replaced, not changed: Keras is iterating over it right
    now.

    Args:
        tracer: the one in the list, and the one that takes its place there.
        callbacks: those of the user, as they are numbered in the trace.
        on_start, on_end: called before the first epoch and after all callbacks ran their on_train_end.

    Returns:
        Puts the list back, unless somebody has replaced it since.
    """
    original = callback_list.callbacks
    last: Probe = FirstProbe(recorder, on_start)
    probed: list[Any] = [last]
    asynchronous = runs_batch_ends_apart(callback_list)
    if any(_in_batches(cb) and not _is_kerass(cb) for cb in original if cb is not tracer[0]):
        recorder.look_at_every_step()
    light = recorder.level == INPUTS or recorder.choice is not None
    for cb in original:
        probed.append(tracer[1] if cb is tracer[0] else cb)
        if cb is tracer[0] or type(cb) in _UNPROBED:
            continue
        if _in_batches(cb) and not (light and quiet_in_batches(cb)):
            # Where Keras runs `on_train_batch_end` in a thread of its own, no callback of the user has one.
            recorder.batch_hooks_present = True
            kind = BatchBeginProbe if asynchronous else BatchProbe
        else:
            kind = Probe
        file = _file_of(cb, callbacks)
        own = not _is_kerass(cb)
        saves = next((i for i, c in enumerate(callbacks) if c is cb), None) if own and file is None else None
        before, last = last, kind(recorder, type(cb).__name__, file, saves)
        if own:
            before.at_optimizer, last.at_optimizer = bool(before.at_optimizer), True
        probed.append(last)
    probed.append(LastProbe(recorder, on_end, Outside(recorder.model, callbacks, recorder.event)))
    callback_list.callbacks = probed
    known = weakref.ref(callback_list)  # a fit that raised is over when nobody holds its list

    def restore() -> None:
        callback_list = known()
        if callback_list is not None and callback_list.callbacks is probed:
            callback_list.callbacks = original

    return restore


def _in_batches(cb: Any) -> bool:
    return type(cb) not in _UNPROBED and bool(_IN_BATCHES & set(describe.callback(cb)["hooks"]))


def _is_kerass(cb: Any) -> bool:
    """Whether all of its code is Keras's own."""
    return by_keras(type(cb)) and not isinstance(cb, keras.callbacks.LambdaCallback)


def _file_of(cb: Any, callbacks: Sequence[Any]) -> tuple[int, SavedFile] | None:
    file = saved_file(cb)
    return None if file is None else (next(i for i, c in enumerate(callbacks) if c is cb), file)
