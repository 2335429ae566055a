"""What a model's optimizer held when an epoch of the fit began."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.replay.keras.backends import ReplayBackend
from diagnose.replay.keras.backends.common import initial_optimizer_state, optimizer_variables
from diagnose.replay.recorded import OptimizerStart
from diagnose.tracefile.model import NDArray

_OTHERS = "the model's optimizer has other variables than the one that the fit was run with"


def optimizer_state(model: Any, backend: ReplayBackend, start: OptimizerStart) -> list[NDArray]:
    """The optimizer's variables, with the learning rate among them.

    Raises:
        ReplayError: those recorded are of another optimizer.
    """
    variables = optimizer_variables(model)
    if start.variables is None:
        found = initial_optimizer_state(model, backend.contents)
    else:
        found = [np.array(array) for array in start.variables]
        if len(found) < len(variables):
            found += _never_used(model, backend, len(found))
    if len(found) != len(variables):
        raise ReplayError(_OTHERS)
    own = getattr(model.optimizer, "_learning_rate", None)
    for i, v in enumerate(variables):
        if v is own and start.rate is not None:
            found[i] = np.array(start.rate, found[i].dtype)
    return found


def _never_used(model: Any, backend: ReplayBackend, recorded: int) -> list[NDArray]:
    """What a fit that left its optimizer alone (the model's own step has others) did not make: a new one's."""
    optimizer = model.optimizer
    if recorded != len(type(optimizer).from_config(optimizer.get_config()).variables):
        raise ReplayError(_OTHERS)
    return initial_optimizer_state(model, backend.contents)[recorded:]
