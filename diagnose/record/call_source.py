"""The rows of an `evaluate` or `predict` that was given a pipeline or a generator: noted as Keras draws them, as those
of a fit are. Nothing else of the call is touched, and nothing raised here reaches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from diagnose.frameworks.keras.fits import iterator_of_evaluate
from diagnose.record.backends import current_backend
from diagnose.record.backends.base import Source, StepHook
from diagnose.record.batches import NotCaptured, TakenBatch
from diagnose.record.call_items import MOST_BYTES
from diagnose.record.handlers import let_through
from diagnose.record.taking import Taker

TOO_MANY = "its rows are more than are kept"


class Drawn(StepHook):
    """What one call draws. `seconds`: what noting it took."""

    def __init__(self, model: Any) -> None:
        self.model, self.backend = model, current_backend()
        self.seconds = 0.0
        self._taker = Taker(self.backend)
        self._source: Source | None = None
        self._taken: list[TakenBatch] = []
        self._bytes, self._why = 0, ""
        self._put_back: Callable[[], None] = lambda: None

    def added_to(self, callbacks: Any) -> Any:
        """The callbacks of the call, and one that has the rows noted; None where they are not to be changed."""
        import keras

        if isinstance(callbacks, keras.callbacks.CallbackList) or self.backend.distribution(self.model) is not None:
            return None
        if callbacks is not None and not isinstance(callbacks, (list, tuple)):
            return None  # of a list, Keras asks what its callbacks wait for, and runs their hooks otherwise
        own = list(callbacks or ())
        start = self._start

        class Starts(keras.callbacks.Callback):  # type: ignore[misc]
            def on_test_begin(self, logs: Any = None) -> None:
                start("test_function")

            def on_predict_begin(self, logs: Any = None) -> None:
                start("predict_function")

        return [*own, Starts()]

    def end(self) -> None:
        """The call has ended, however it did."""
        self._put_back()

    def rows(self) -> tuple[TakenBatch, tuple[int, ...]]:
        """All rows as one batch, and how many each batch had. Raises NotCaptured, with the reason, where that cannot
        be."""
        taken = self._taken
        if self._why or not taken:
            raise NotCaptured(self._why or "its rows were not seen")
        first = taken[0]
        if any(t.whole or t.signature != first.signature or t.weight_tree != first.weight_tree for t in taken):
            raise NotCaptured("its batches are not of one form")
        weights = [t.sample_weight for t in taken if t.sample_weight is not None]
        if weights and len(weights) < len(taken):
            raise NotCaptured("its batches are not of one form")
        leaves = [np.concatenate(each) for each in zip(*(t.leaves for t in taken), strict=True)]
        weight = np.concatenate(weights) if weights else None
        sizes = tuple(t.rows for t in taken)
        return TakenBatch(first.signature, leaves, weight, sum(sizes), None, first.weight_tree, first.bare), sizes

    # ── in the call ──

    def _start(self, name: str) -> None:
        model = self.model
        try:
            original = getattr(model, name)
            wrapped = self._wrapped(original, name)
            if wrapped is None:
                return
            setattr(model, name, wrapped)
        except Exception as error:
            let_through(error)
            self._why = f"{type(error).__name__}: {error}"
            return

        def put_back() -> None:
            if getattr(model, name) is wrapped:
                setattr(model, name, original)

        self._put_back = put_back

    def _wrapped(self, original: Any, name: str) -> Any:
        if original is None:
            return None
        if name == "predict_function":
            return self._wrapped_predict(original)
        iterator = iterator_of_evaluate()
        if iterator is None:
            return None
        self._source = self.backend.tap(iterator, self.armed)
        return self.backend.wrap_test(self.model, original, self)

    def _wrapped_predict(self, original: Any) -> Any:
        """It gets its batches in a list; on JAX, an iterator that it goes through itself."""
        if self.backend.name != "jax":

            def predicts(data: Any) -> Any:
                for each in data if self.armed() else ():
                    self._take(each)
                return original(data)

            return predicts

        def noted(data: Any) -> Any:
            if self.armed():
                self._take(data)
            return data

        # Of as many batches as it draws, which `steps_per_execution` says.
        return lambda state, iterator: original(state, map(noted, iterator))

    def armed(self) -> bool:
        return not self._why

    def batch_axis(self, fixed: bool) -> None:
        """Not asked of a call."""

    def before(self, data: Any, state: Any) -> None:
        if data is not None:
            self._take(data)
        elif self._source is not None:
            self._source.clear()

    def fetched(self, *batches: Any) -> None:
        try:
            drawn = batches or (() if self._source is None else self._source.take())
        except Exception as error:
            let_through(error)
            self._why = f"{type(error).__name__}: {error}"
            return
        for data in drawn:
            self._take(data)

    def after(self, state: Any) -> None:
        """Nothing is read after a test step."""

    def _take(self, data: Any) -> None:
        began = time.perf_counter()
        try:
            taken = self._taker.take(data)
            if isinstance(taken, str):
                self._why = taken
            else:
                self._taken.append(taken)
                self._bytes += sum(leaf.nbytes for leaf in taken.leaves)
            if self._bytes > MOST_BYTES:
                self._why = TOO_MANY
        except Exception as error:
            let_through(error)
            self._why = f"{type(error).__name__}: {error}"
        if self._why:
            self._taken = []
        self.seconds += time.perf_counter() - began
