"""The model a fit of this process trained, or an equal one where that is gone."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from diagnose.errors import DiagnoseError
from diagnose.replay.keras.stored_model import build

if TYPE_CHECKING:
    from diagnose.record.run import Run


def model_of(run: Run) -> tuple[Any, dict[str, Any]]:
    """The model and what `compile` had made for the fit: its own while they are there; else a model built from the
    form it had then, which this process has kept (not the file's), without compiled parts. None where neither is to be
    had: the model is gone and is not of Keras's own layers alone."""
    model, compiled = run.model, run.compiled
    if model is not None and compiled is not None:
        return model, compiled
    states = random.getstate(), np.random.get_state()  # what initializers without a seed draw from
    try:
        return build(run.architecture), {}
    except DiagnoseError:
        return None, {}
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
