"""The weights before the first step of a model that this step builds: they exist from the tracing of the step on, and
nothing has run by then. Adds nothing to what is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diagnose.frameworks.keras.model_state import state_variables, variables_exist
from diagnose.frameworks.keras.optimizers import optimizers_of, with_apply
from diagnose.frameworks.keras.seeds import seed_variable
from diagnose.record.backends.base import Backend
from diagnose.record.handlers import let_through
from diagnose.record.items import Snapshot
from diagnose.tracefile.model import NDArray


class FirstStep:
    """Looks at the variables each time the step, while it is traced, comes to its update: TensorFlow traces a step that
    makes variables twice, and they have their contents from the second time on."""

    def __init__(self, model: Any, backend: Backend) -> None:
        self._model = model
        self._backend = backend
        self._found: tuple[list[Any], list[NDArray]] | None = None
        self.seed: tuple[int, int] | None = None
        """The state of the global seed generator then, if there was one."""
        self._undo: list[Callable[[], None]] = [with_apply(o, self._look) for o in optimizers_of(model)]

    def end(self) -> None:
        """Takes out what looks."""
        undo, self._undo = self._undo, []
        for each in undo:
            each()

    def saw(self, variables: Sequence[Any]) -> bool:
        """Whether it saw the contents of just these variables."""
        return self._found is not None and [id(v) for v in self._found[0]] == [id(v) for v in variables]

    def snapshot(self) -> Snapshot:
        """The contents of the variables before the step."""
        return Snapshot([] if self._found is None else self._found[1])

    def _look(self) -> None:
        try:
            if not self._undo or not variables_exist(self._model):
                return
            variables, seed = state_variables(self._model), seed_variable()
            found = self._backend.before_run([*variables, *([] if seed is None else [seed])])
            if found is not None:
                if seed is not None:
                    first, second = (int(n) for n in found.pop())
                    self.seed = first, second
                self._found = variables, found
        except Exception as error:  # in the middle of the user's step: it goes on
            let_through(error)
