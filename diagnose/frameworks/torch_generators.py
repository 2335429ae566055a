"""The process-wide random generators of torch, which Keras's layers draw from there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def generator_state() -> npt.NDArray[Any]:
    """The state of the generator of the CPU and, where CUDA is in use, of each of its devices, one after the other."""
    states = [torch.get_rng_state().numpy()]
    if torch.cuda.is_initialized() and torch.cuda.is_available():  # type: ignore[no-untyped-call, unused-ignore]
        states.extend(state.cpu().numpy() for state in torch.cuda.get_rng_state_all())
    return np.concatenate(states)
