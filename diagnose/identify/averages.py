"""Whether held weights are an average of recorded ones: the optimizer's own, by digest, or a mean or moving average
over ends of epochs or updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diagnose.decide.mixtures import mixture_of
from diagnose.errors import ReplayError
from diagnose.identify.held import Held
from diagnose.tracefile.about import Variable
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, NDArray, State
from diagnose.tracefile.reader import Trace


@dataclass(frozen=True, slots=True)
class Average:
    """`kind` "optimizer": the trainable weights are the moving averages (momentum `momentum`) that the optimizer held
    at the end of `epochs`, or after fit (`after_fit`); "mean", "moving": all weights are that of the ends of `epochs`,
    or of `versions`, to rounding (`error`: largest difference of an element), as `text` says."""

    kind: Literal["optimizer", "mean", "moving"]
    epochs: tuple[int, ...]
    after_fit: bool = False
    momentum: float | None = None
    error: float | None = None
    versions: tuple[int, ...] = ()
    text: str = ""


def average_of(trace: Trace, held: Held, weights: Mapping[int, Variable]) -> Average | None:
    """The average these weights are proven to be, or None."""
    if held.unassigned or len(held.arrays) < len(weights):
        return None
    return _of_optimizer(trace, held, weights) or _mixture(trace, held)


def _of_optimizer(trace: Trace, held: Held, weights: Mapping[int, Variable]) -> Average | None:
    trainable = [i for i in held.arrays if weights[i].group == "trainable"]
    wanted = tuple(array_digest(held.arrays[i]) for i in trainable)
    listed = trace.header.optimizer_variables
    if not wanted or not listed:
        return None
    at = [j for j, v in enumerate(listed) if v.path.endswith("_average")]
    if len(at) != len(wanted):
        return None

    def is_it(state: State | None, version: int) -> bool:
        slots = None if state is None else state.optimizer_arrays
        if state is None or slots is None or len(slots) != len(listed):
            return False
        averages = tuple(slots[j] for j in at)
        own = tuple(state.arrays[i] for i in trainable)
        if wanted not in (averages, own):
            return False
        return wanted == (own if _swapped(trace, averages, own, trace.version(version), trainable) else averages)

    ends = tuple(e.epoch for e in trace.epochs if is_it(trace.states[e.state], e.last_version))
    after = bool(trace.epochs) and is_it(trace.final, trace.epochs[-1].last_version)
    if not ends and not after:
        return None
    momentum = trace.header.compile.optimizer_config.get("ema_momentum")
    return Average("optimizer", ends, after, momentum if isinstance(momentum, float) else None)


def _swapped(
    trace: Trace, averages: Sequence[Digest], own: Sequence[Digest], version: State | None, trainable: Sequence[int]
) -> bool:
    """Whether the optimizer holds the version's weights in the place of its averages (`SwapEMAWeights`), so that what
    the model holds are these. On TensorFlow Keras swaps by adding and subtracting, which rounds (3.15.1)."""
    made = () if version is None else tuple(version.arrays[i] for i in trainable)
    if len(made) != len(averages) or own in (made, averages):
        return False
    if made == averages:
        return True
    try:
        triples = [[trace.array(d) for d in three] for three in zip(averages, made, own, strict=True)]
    except ReplayError:
        return False
    return all(
        a.dtype.kind == "f"
        and float(np.max(np.abs(a - b), initial=0)) <= _rounding(a, [b.astype(float), c.astype(float)])
        for a, b, c in triples
    )


def _mixture(trace: Trace, held: Held) -> Average | None:
    found = mixture_of(trace, held.arrays)
    if found is None:
        return None
    epochs, versions = (found.members, ()) if found.of == "epochs" else ((), found.members)
    return Average(found.kind, epochs, momentum=found.momentum, error=found.error, versions=versions, text=found.text)


def _rounding(array: NDArray, contents: Sequence[NDArray]) -> float:
    """What summing in the array's own precision may have lost."""
    largest = max(float(np.max(np.abs(c), initial=0)) for c in contents)
    return 2 * len(contents) * float(np.finfo(array.dtype).eps) * largest
