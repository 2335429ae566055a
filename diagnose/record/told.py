"""The steps of a fit that nobody looks at: a source tells what they took. Runs on the training thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from diagnose.frameworks.keras.origin import code_by_keras
from diagnose.frameworks.keras.seeds import SeedBefore
from diagnose.record.array_source import ArraySource
from diagnose.record.at_source import AtSource, Placed
from diagnose.record.backends.base import Backend, Live
from diagnose.record.batches import TakenBatch
from diagnose.record.handlers import let_through
from diagnose.record.items import ArraysItem, StepsItem
from diagnose.record.light import INPUTS, metric_state
from diagnose.record.measured import Measured
from diagnose.record.packs import raw
from diagnose.record.taking import Taker
from diagnose.record.worker import Worker
from diagnose.tracefile.model import Json, Layout, NDArray

OTHER_FUNCTION: Final = "a callback put another function in the place of Keras's own, which takes what it likes"


class Told(Measured):
    """Hands on the steps that were made since the last look, whenever somebody looks.

    The first execution of a fit is recorded by the hooks around it. Where the source would have told the same of it,
    they are taken out. Args: see `Observer`.
    """

    def __init__(self, model: Any, backend: Backend, worker: Worker, level: int, policy: Mapping[str, Json]) -> None:
        super().__init__(model, backend, worker, level, policy)
        self._axes: dict[str, bool] = {}
        self._generator: NDArray | None = None
        self._seed = SeedBefore()
        self._taker = Taker(backend)
        self._at_source: AtSource | None = None
        self._steps_began = 0.0
        self.batch_hooks_present = False
        """Whether a callback does something at each step: each is looked at then."""

    def tell_by(self, source: ArraySource) -> None:
        """A source tells what steps took, where no more than that is asked of them."""
        self._at_source = AtSource(source, self._taker)

    @property
    def at_source(self) -> bool:
        """Whether steps are not looked at any more."""
        return self._at_source is not None and self._at_source.on

    def change_level(self, level: int) -> None:
        """See `Observer`. More than the source tells needs the hooks around steps again."""
        if level > INPUTS and self._at_source is not None:
            self._at_source.on = False
        super().change_level(level)

    def placed(self) -> list[Placed | str] | None:
        """The batches of the execution that was made just now, where a source tells them and nobody has to look at
        their rows; None: they are to be looked at."""
        found = None if self._at_source is None else self._at_source.placed()
        if found is None or getattr(self.model.train_function, "__diagnose__", None) is not None:
            return None if found is None else [*found]
        return [OTHER_FUNCTION] * len(found)

    def _take_over(self, batches: Sequence[TakenBatch | Placed | str]) -> None:
        """After the first execution of the fit, or of the first epoch at this level: whether the following ones need no
        look."""
        found = self._at_source
        looks = self.level > INPUTS or self.batch_hooks_present
        if found is not None and looks and self.step == len(batches) and self.backend.copies_arrays:
            found.learn(batches)
        if found is not None and not looks and not found.on and self._batch_index == len(batches):
            if found.take_over(batches):
                self.worker.put(ArraysItem(found.contents))
            else:
                self._at_source = None
            self._steps_began = time.perf_counter()

    def _source_begins(self) -> None:
        if self._at_source is not None:
            self._at_source.begin_epoch()

    def ready(self) -> None:
        """Before the first step of an epoch, after all callbacks ran their on_epoch_begin."""
        if not self.at_source:
            return
        assert self._at_source is not None
        self._at_source.look()
        self._metrics = metric_state(self.backend, self._live())
        self._generator = self.backend.generator_state()
        self._seed.look(self.model, first=False)
        self._steps_began = time.perf_counter()

    def _catch_up(self, unfinished: int = 0) -> None:
        """Hands on the steps of this epoch that were made since the last look."""
        if not self.at_source:
            return
        assert self._at_source is not None
        first = self._batch_index
        count = self._at_source.steps(unfinished) - first
        if count <= 0:
            return
        self._seed.look_back(self.model)
        drawn = self._at_source.generator
        as_told = code_by_keras(self.model.train_function)
        self._last.put(
            StepsItem(
                step=self.step,
                epoch=self.epoch,
                batch_index=first,
                count=count,
                rows=self._at_source.rows(first, first + count) if as_told else OTHER_FUNCTION,
                batch_size=self._at_source.batch_size,
                metrics_before=None if first else raw(self._metrics),
                metrics_after=None,
                generator=None if first else self._generator if drawn is None else drawn,
                seconds=(time.perf_counter() - self._steps_began) / count,
                after=None,
                layout=Layout(self._axes.get("batch_axis", False), bare=self._at_source.contents.batch.bare),
                global_seed=None if first else self._seed.state,
            )
        )
        self.step += count
        self._batch_index += count
        self._steps_began = time.perf_counter()
        self._metrics, self._generator, self._seed.state = None, None, None
        self._observed = None

    def _settled(self, state: Any = None) -> Live:
        self._catch_up()
        return super()._settled(state)

    def _hand_on_rest(self) -> None:
        """The steps of an epoch that did not end: whether the last execution made its own, nobody saw."""
        try:
            self._catch_up(unfinished=1)
        except Exception as error:
            let_through(error)
