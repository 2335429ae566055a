"""The cure: callbacks that let a Keras fit go by values that belong to the weights it keeps. They record and analyse
nothing."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from diagnose.frameworks.keras.fits import callback_list_in
from diagnose.frameworks.keras.metrics import direction_of
from diagnose.frameworks.keras.model_state import state_variables
from diagnose.frameworks.keras.origin import step_by_keras

__all__ = ["OwnedEarlyStopping", "ReevaluatedMetrics"]


class ReevaluatedMetrics(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no type hints
    """Adds `eval_loss`, `eval_accuracy`, … to each epoch's logs: what `evaluate` returns for the given rows with the
    model as it is at the end of the epoch. Put it before the callbacks that are to monitor them.

    The fit stays what it would be without it, bit for bit: weights, optimizer, seeds, training metrics and the other
    keys of `History`. It costs one evaluation of the rows per epoch.

    A callback after it that monitors one of its values with `mode="auto"` gets the direction of the metric; where Keras
    has already chosen another one by name, a warning says so.

    Args:
        x, y, sample_weight, batch_size: as for `Model.evaluate`. A data set or `PyDataset` may be given as `x`; a
            generator may not, since it can be read only once.
        prefix: put before each metric's name. Not "val_": for that, fit has `validation_data`.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        prefix: str = "eval_",
    ) -> None:
        super().__init__()
        if not prefix or prefix.startswith("val_"):
            raise ValueError(f"prefix={prefix!r} would hide other values of the logs; use one such as 'eval_'.")
        self.prefix = prefix
        self._rows = _Rows(x, y, sample_weight, batch_size)
        self._callbacks: Sequence[Any] = ()
        self._warned: set[str] = set()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._callbacks = _callbacks_of_fit()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = self._rows.evaluate(self.model)
        if logs is not None:
            logs.update({self.prefix + name: value for name, value in values.items()})
        for callback in self._callbacks:
            monitor = getattr(callback, "monitor", None)
            if callback is not self and isinstance(monitor, str) and monitor.startswith(self.prefix):
                self._direct(callback, monitor)

    def _direct(self, callback: Any, monitor: str) -> None:
        """Tells a callback the direction that it is to find out by itself; warns where it has found another."""
        direction = _direction(self.model, monitor.removeprefix(self.prefix))
        operation = getattr(callback, "monitor_op", None)
        if direction is None:
            return
        if operation is None:
            if getattr(callback, "mode", None) == "auto":
                callback.mode = direction
        elif ("max" if bool(operation(1e9, 0.0)) else "min") != direction:
            text = f"{type(callback).__name__} takes the wrong direction for '{monitor}'; pass mode={direction!r}."
            if text not in self._warned:
                self._warned.add(text)
                warnings.warn(text, stacklevel=3)


class OwnedEarlyStopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras has no type hints
    """`EarlyStopping` that keeps the weights which *produced* the monitored value, not those the epoch left behind.

    * `val_…`: the weights the validation pass was computed with, moving averages swapped in for it included.
    * A training value where each epoch has one batch: the weights before the epoch's only update.
    * A training value over several batches belongs to no single set of weights. Once, a warning says so; from then on
      the callback monitors the same metric evaluated again at the end of each epoch over the rows given as `x`, `y`
      (in the logs as `eval_…`), and keeps the weights it was evaluated with.
    * What a `ReevaluatedMetrics` before it adds: the weights at the end of the epoch.

    As in Keras, only weights are restored: not the state of the optimizer, nor that of random generators. A training
    value is computed in training mode, so with dropout or batch normalisation even the weights that produced it give
    another one in `evaluate`.

    Args:
        x, y, sample_weight, batch_size: the rows to evaluate again; needed for a training value over several batches.
        restore_best_weights: True unless said otherwise, unlike in Keras.
        monitor, min_delta, patience, verbose, mode, baseline, start_from_epoch: as for `EarlyStopping`.

    Raises:
        ValueError: in `fit`, where the value has no owner and no rows were given.
    """

    best_weights: Any
    verbose: int

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
        x: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            monitor=monitor,
            min_delta=min_delta,
            patience=patience,
            verbose=verbose,
            mode=mode,
            baseline=baseline,
            restore_best_weights=restore_best_weights,
            start_from_epoch=start_from_epoch,
        )
        self.prefix = "eval_"
        self._asked_for = monitor
        self._rows = None if x is None else _Rows(x, y, sample_weight, batch_size)
        self._callbacks: Sequence[Any] = ()
        self._steps = 0
        self._updates_before: int | None = None
        self._before: list[Any] | None = None
        self._validated: list[Any] | None = None
        self._unowned: str | None = None
        self._kept_before_update = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self._callbacks = _callbacks_of_fit()
        self.monitor, self._unowned, self._kept_before_update = self._asked_for, None, False
        steps = (self.params or {}).get("steps")
        if self._on_training_value() and isinstance(steps, int) and steps > 1:
            self._give_up_owner(f"it is averaged over {steps} batches, each scored with other weights")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._steps, self._before, self._validated = 0, None, None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._steps += 1
        if self._steps == 1 and self._unowned is None and self._on_training_value():
            self._before = self.model.get_weights()
            self._updates_before = _updates(self.model)

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        # Not in on_test_begin: a callback after this one may swap other weights in there.
        if self._validated is None and self._asked_for.startswith("val_"):
            self._validated = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        if self.monitor_op is None:
            self._set_monitor_op()
        producers = self._producers()
        if self._unowned is not None and self._rows is not None:
            values = self._rows.evaluate(self.model)
            if self._asked_for not in values:
                raise ValueError(
                    f"OwnedEarlyStopping cannot evaluate '{self._asked_for}' again: evaluate returns "
                    f"{', '.join(values)}."
                )
            logs.update({self.prefix + name: value for name, value in values.items()})
        kept = self.best_weights
        super().on_epoch_end(epoch, logs)
        if self.best_weights is not kept:
            self._kept_before_update = producers is not None and producers is self._before
            if producers is not None:
                self.best_weights = producers
        self._before = self._validated = None

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        # Keras's own message says "the end of the best epoch", which these weights need not be.
        verbose, self.verbose = self.verbose, 0
        super().on_train_end(logs)
        self.verbose = verbose
        if verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if verbose and self.restore_best_weights and self.best_weights is not None:
            place = "before the only update" if self._kept_before_update else "at the end"
            print(
                f"Restoring the weights that produced the best {self.monitor}: {place} of epoch {self.best_epoch + 1}."
            )

    def _producers(self) -> list[Any] | None:
        """The weights that produced this epoch's value; None: those the model has now."""
        if self._asked_for.startswith("val_"):
            return self._validated
        if not self._on_training_value() or self._unowned is not None:
            return None
        reason = self._why_unowned()
        if reason is None:
            return self._before
        self._give_up_owner(reason)
        self.best, self.best_weights, self.wait = None, None, 0  # values of two kinds are not compared
        return None

    def _why_unowned(self) -> str | None:
        if self._steps != 1:
            return f"it is averaged over {self._steps} batches, each scored with other weights"
        if not step_by_keras(self.model, "train_step"):
            return "the model's own train_step may compute it before or after its update"
        after = _updates(self.model)
        if self._updates_before is not None and after is not None and after - self._updates_before > 1:
            return f"it is averaged over {after - self._updates_before} batches, each scored with other weights"
        return None

    def _give_up_owner(self, reason: str) -> None:
        why = f"No single set of weights has the '{self._asked_for}' logged for an epoch: {reason}."
        if self._rows is None:
            raise ValueError(
                f"{why} Give OwnedEarlyStopping the rows to evaluate again (x=..., y=...), or monitor a validation "
                "value."
            )
        warnings.warn(
            f"{why} OwnedEarlyStopping monitors '{self.prefix}{self._asked_for}' instead: the same, evaluated again at "
            "the end of each epoch.",
            stacklevel=3,
        )
        self._unowned = reason
        self.monitor = self.prefix + self._asked_for

    def _set_monitor_op(self) -> None:
        # Keras finds the direction by the metric's own name.
        monitor, self.monitor = self.monitor, self.monitor if self._unowned is None else self._asked_for
        try:
            super()._set_monitor_op()
        finally:
            self.monitor = monitor

    def _on_training_value(self) -> bool:
        return not self._asked_for.startswith("val_") and self._provider() is None

    def _provider(self) -> Any:
        """The callback that adds the monitored value at the end of the epoch."""
        made = (c for c in self._callbacks if isinstance(c, ReevaluatedMetrics))
        return next((c for c in made if self._asked_for.startswith(c.prefix)), None)


class _Rows:
    """Rows to evaluate, again and again."""

    def __init__(self, x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> None:
        if isinstance(x, Iterator):
            raise ValueError("x can be read only once (a generator or iterator); give arrays or a data set.")
        self._arguments = {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size}

    def evaluate(self, model: Any) -> dict[str, float]:
        with _undisturbed(model):
            values = model.evaluate(**self._arguments, verbose=0, return_dict=True)
        return {str(name): value for name, value in values.items()}


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Puts back all that an evaluation may move: metrics, states of layers and seeds, mode flags, generators."""
    variables = [*model.metrics_variables, *(v for v in state_variables(model) if not v.trainable)]
    before = [np.array(v.numpy()) for v in variables]
    stopping = getattr(model, "stop_training", False)
    python, numpy_state = random.getstate(), np.random.get_state()
    with _torch_undisturbed(model):
        try:
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                if variable.numpy().tobytes() != value.tobytes():
                    variable.assign(value)
            model.stop_training = stopping
            random.setstate(python)
            np.random.set_state(numpy_state)


@contextlib.contextmanager
def _torch_undisturbed(model: Any) -> Iterator[None]:
    """On torch, an evaluation draws from the global generator (each DataLoader does) and sets modules to eval."""
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    modes = [(module, module.training) for module in model.modules()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _callbacks_of_fit() -> Sequence[Any]:
    """The callbacks of the running fit. A callback is not told of its neighbours; the list that calls it knows them."""
    frame = sys._getframe(1)
    for _ in range(8):
        if frame.f_back is None:
            break
        frame = frame.f_back
        caller = callback_list_in(frame)
        if caller is not None:
            return tuple(caller.callbacks)
    return ()


def _direction(model: Any, name: str) -> str | None:
    """Which way a metric is better, as Keras itself tells it; None where it does not."""
    if name == "loss":
        return "min"
    waiting = list(model.metrics)
    while waiting:
        metric = waiting.pop()
        waiting.extend(getattr(metric, "metrics", None) or ())
        direction = direction_of(metric)
        if metric.name == name and direction is not None:
            return direction
    return None


def _updates(model: Any) -> int | None:
    """The optimizer's own count of updates."""
    iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if iterations is None else int(iterations.numpy())
