"""Which modes one compiled function computes. Compiling is most of what a small diagnosis costs, so each function that
need not be made saves more than the passes it makes beside those that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from diagnose.frameworks.keras.layers import layers_of
from diagnose.frameworks.keras.origin import step_by_keras
from diagnose.replay.engine import TRAINING, Mode
from diagnose.tracefile.reader import Trace

SMALL: Final = {"tensorflow": 0.15, "jax": 1.0}
"""Seconds of train steps up to which all passes of a fit are made in all modes: about what a function costs that is not
compiled for it."""

FEW: Final = 48
FEW_SECONDS: Final = 1.0
"""Of so few steps, what they took tells more of what else the machine did."""

_CHEAP: Final = frozenset({"dropout", "batch-norm", "augmentation"})
"""Kinds that Keras's own layers have. What a layer of the user's does in another mode need not be harmless."""


class Together:
    """For one model. `switches`: the kinds of its layers that differ between training and inference."""

    def __init__(self, model: Any, switches: frozenset[str], trace: Trace) -> None:
        self._inference = Mode(switches, False)
        steps, backend = trace.steps, trace.header.backend
        asked = ("compute_loss", "compute_metrics", "call")
        keras_own = all(step_by_keras(model, name) and name not in vars(model) for name in asked)
        # A model with other layers than were recorded is refused where it is to train.
        keras_own = keras_own and len(layers_of(model)) == len(trace.header.model.layers)
        self._alike = not switches and keras_own
        limit = SMALL.get(backend, 0.0)
        if limit and len(steps) <= FEW:
            limit = max(limit, FEW_SECONDS)
        small = bool(steps) and median(s.seconds for s in steps) * len(steps) <= limit
        one = len(switches) == 1 and switches <= _CHEAP and keras_own
        self._all: tuple[Mode, ...] | None = (TRAINING, self._inference) if small and one else None

    def key(self, modes: Sequence[Mode]) -> tuple[Mode, ...]:
        """The modes as far as what is compiled for them differs: all of inference is one, whatever kinds there are, and
        where no layer tells it from training, they are one, too."""
        if self._alike:
            return (TRAINING,) * len(modes)
        return tuple(mode if mode.training else self._inference for mode in modes)

    def made(self, modes: Sequence[Mode]) -> tuple[tuple[Mode, ...], list[int]]:
        """The modes of the function to run, and the places of those asked for among them."""
        every = self._all
        if every is None or not all(mode in every for mode in modes):
            return tuple(modes), list(range(len(modes)))
        return every, [every.index(mode) for mode in modes]

    def apart(self) -> bool:
        """Gives up making passes that nobody asked for, as one of them failed. Returns whether any were made."""
        made, self._all = self._all is not None, None
        return made


def kinds_in(trace: Trace, other: bool) -> frozenset[str]:
    """The kinds of layers that differ between training and inference; `other`: something else does, too."""
    model = trace.header.model
    found = {layer.kind for layer in model.layers if layer.kind}
    if other or model.own_training:
        found.add("other-training-mode")
    return frozenset(found)


def own_steps(trace: Trace) -> tuple[bool, bool]:
    """Whether the model has a `train_step` and a `test_step` of its own."""
    settings = trace.header.compile
    return settings.custom_train_step, settings.custom_test_step
