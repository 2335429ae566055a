"""What a model's optimizer held when an epoch of the fit began."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.errors import ReplayError
from diagnose.replay.backends import ReplayBackend
from diagnose.replay.backends.common import initial_optimizer_state, optimizer_variables
from diagnose.tracefile.model import NDArray
from diagnose.tracefile.reader import Trace


def optimizer_state(trace: Trace, model: Any, backend: ReplayBackend, epoch: int) -> list[NDArray]:
    """The optimizer's variables at the start of a (1-based) epoch, with the rate the epoch ran at.

    Raises:
        ReplayError: they were not recorded, or are those of another optimizer.
    """
    variables = optimizer_variables(model)
    before = [e for e in trace.epochs if e.epoch < epoch]
    if before:
        recorded = trace.states[before[-1].state].optimizer_arrays
        if recorded is None or len(recorded) > len(variables):
            raise ReplayError("the weights inside the epoch were not kept, nor was the optimizer's state")
        found = [np.array(trace.array(digest)) for digest in recorded]
        if len(recorded) < len(variables):
            found += _never_used(model, backend, len(recorded))
    else:
        found = initial_optimizer_state(model, backend.contents)
    if len(found) != len(variables):
        raise ReplayError("the model's optimizer has other variables than the one that the fit was run with")
    rate = next(e.learning_rate for e in trace.epochs if e.epoch == epoch)
    own = getattr(model.optimizer, "_learning_rate", None)
    for i, v in enumerate(variables):
        if v is own and rate is not None:
            found[i] = np.array(rate, found[i].dtype)
    return found


def _never_used(model: Any, backend: ReplayBackend, recorded: int) -> list[NDArray]:
    """What a fit that left its optimizer alone (the model's own step has others) did not make: a new one's."""
    optimizer = model.optimizer
    if recorded != len(type(optimizer).from_config(optimizer.get_config()).variables):
        raise ReplayError("the model's optimizer has other variables than the one that the fit was run with")
    return initial_optimizer_state(model, backend.contents)[recorded:]
