"""Opens the engine of a Keras model: as the traced fit had it, and given back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from diagnose.errors import ReplayError
from diagnose.replay.engine import Engine
from diagnose.replay.keras.backends import current_backend
from diagnose.replay.keras.borrow import borrowed
from diagnose.replay.keras.build import build
from diagnose.replay.keras.data import KERAS_BATCH_SIZE, as_numpy
from diagnose.replay.keras.engine import KerasEngine
from diagnose.replay.keras.kept import kept_for
from diagnose.replay.keras.layer_flags import layers_as_recorded
from diagnose.result.problems import users_code
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class KerasFactory:
    """Opens one model for the traces it made (see `diagnose.replay.engine.EngineFactory`). It pickles as the model
    does: Keras saves it with what it was compiled with.

    `compiled`: what `compile` had made for the traced fit, where the model may have been compiled again since.
    """

    model: Any
    compiled: Mapping[str, Any] = field(default_factory=dict)

    batch_size: ClassVar[int] = KERAS_BATCH_SIZE

    def arrays(self, tree: Any) -> Any:
        """Floats in the default float type, as Keras makes them."""
        return as_numpy(tree)

    @contextlib.contextmanager
    def open(self, trace: Trace) -> Iterator[Engine]:
        """Within: the model as it was compiled for the traced fit."""
        with contextlib.ExitStack() as lent:
            with users_code("looking at the model"):
                lent.enter_context(borrowed(self.model, self.compiled))
                lent.enter_context(layers_as_recorded(self.model, trace))
            build(self.model, trace)
            with users_code("looking at the model"):
                compiles = current_backend().compiles and not self.model.run_eagerly
                lent.enter_context(current_backend().compiled_on_disk())
                kept = lent.enter_context(kept_for(self.model, trace, compiles=compiles))
            yield KerasEngine(trace, self.model, kept)

    def __reduce__(self) -> tuple[type[KerasFactory], tuple[Any]]:
        if any(getattr(self.model, name, None) is not part for name, part in self.compiled.items()):
            raise ReplayError("a model that was compiled again since its fit cannot be handed to another process")
        return KerasFactory, (self.model,)
