"""Small callbacks set between the user's callbacks: after each of them they look at what it changed. They change
nothing."""

from __future__ import annotations

import os
from typing import Any

import keras

from diagnose.record.callback_state import SavedFile
from diagnose.record.guard import guarded
from diagnose.record.outside import Outside
from diagnose.record.recorder import Recorder


class Probe(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at weights, learning rate and stop flag after `callback` (None: before any) ran a hook, and at the `file`
    it may have written (with the place of the callback among those of the fit). `saves`: the place of a callback of
    the user's own, which may save the model to any file."""

    def __init__(
        self,
        recorder: Recorder,
        callback: str | None,
        file: tuple[int, SavedFile] | None = None,
        saves: int | None = None,
    ) -> None:
        super().__init__()
        self.recorder = recorder
        self.callback = callback
        self.file = file
        self.saves = saves
        self.at_optimizer: bool | None = None
        """Whether it also looks at the optimizer's state: None: no; False: before a callback that may change it; True:
        after one."""

    def look(self, hook: str) -> None:
        self.look_at_saves(hook)
        self.recorder.observe(hook, self.callback)
        if self.at_optimizer is not None:
            self.recorder.observe_optimizer(hook, self.callback if self.at_optimizer else None)

    def set_model(self, model: Any) -> None:
        """Keeps no model: on JAX, `Callback.model` forces a state sync."""

    @guarded
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.look("on_epoch_begin")

    @guarded
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.look("on_epoch_end")
        self.look_at_file("on_epoch_end", epoch, logs)

    def look_at_saves(self, hook: str) -> None:
        files = self.recorder.saved_files
        while files:
            path = files.pop(0)
            if self.saves is None:
                continue
            known = os.stat(path).st_size if os.path.isfile(path) else None
            detail = {"callback": self.callback, "place": self.saves, "hook": hook, "version": self.recorder.step}
            self.recorder.event("file-saved", {**detail, "path": path, "bytes": known})

    def look_at_file(self, hook: str, epoch: int, logs: Any, batch: int | None = None) -> None:
        if self.file is None or (batch is not None and not self.file[1].in_batches()):
            return
        written = self.file[1].written(epoch, logs, batch)
        if written is not None:
            version = self.recorder.step
            detail = {"callback": self.callback, "place": self.file[0], "hook": hook, "version": version, **written}
            self.recorder.event("file-saved", detail)

    @guarded
    def on_test_begin(self, logs: Any = None) -> None:
        self.recorder.observe("on_test_begin", self.callback)

    @guarded
    def on_test_end(self, logs: Any = None) -> None:
        self.recorder.observe("on_test_end", self.callback)

    @guarded
    def on_train_end(self, logs: Any = None) -> None:
        self.look("on_train_end")


class FirstProbe(Probe):
    """Stands before all callbacks: begins epochs, and sees what Keras itself changed between two hooks."""

    def __init__(self, recorder: Recorder, on_start: Any) -> None:
        super().__init__(recorder, None)
        self._on_start = on_start

    @guarded
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        on_start, self._on_start = self._on_start, None
        if on_start is not None:
            on_start()
        self.recorder.begin_epoch(epoch + 1)
        self.look("on_epoch_begin")

    @guarded
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.recorder.steps_end()
        self.look("on_epoch_end")

    @guarded
    def on_test_end(self, logs: Any = None) -> None:
        # Before any callback (SwapEMAWeights) puts other weights in place of those the pass was computed with.
        self.recorder.end_evaluation(logs)
        self.recorder.observe("on_test_end", None)


class BatchBeginProbe(Probe):
    """Also looks after `on_train_batch_begin`, which Keras always runs on the training thread."""

    @guarded
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.recorder.observe_between("on_train_batch_begin", self.callback)


class BatchProbe(BatchBeginProbe):
    """Also looks after both batch hooks; set only behind callbacks that have their own."""

    @guarded
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.recorder.observe_between("on_train_batch_end", self.callback)
        self.look_at_saves("on_train_batch_end")
        self.look_at_file("on_train_batch_end", self.recorder.epoch - 1, logs, batch)


class LastProbe(Probe):
    """Stands behind all callbacks: ends epochs and the fit in the trace once everything else has run."""

    def __init__(self, recorder: Recorder, on_end: Any, outside: Outside) -> None:
        super().__init__(recorder, None)
        self._on_end = on_end
        self._outside = outside

    @guarded
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.recorder.observe("on_epoch_begin", None)
        self._outside.look()
        self.__dict__.pop("on_train_batch_begin", None)  # the level may be another than in the epoch before
        self.recorder.ready()
        self.recorder.steps_begin()

    @guarded
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        # Behind all callbacks: if one of them raises here, no step follows, and the flag must not meet a later one.
        if self.recorder.at_source:
            self.on_train_batch_begin = _nothing  # type: ignore[method-assign]
        else:
            self.recorder.arm()

    @guarded
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._outside.look()
        self.recorder.end_epoch(logs)

    @guarded
    def on_test_begin(self, logs: Any = None) -> None:
        """The state is looked at when the first batch arrives."""

    @guarded
    def on_test_end(self, logs: Any = None) -> None:
        """The pass was ended before all callbacks; what they change now, the probe behind each of them sees."""

    @guarded
    def on_train_end(self, logs: Any = None) -> None:
        self._on_end()


def _nothing(batch: int, logs: Any = None) -> None:
    """In the place of a hook that has no more to do."""
