"""Whether held weights are an average of recorded ones: the optimizer's own, by digest, or a mean over ends of
epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diagnose.errors import ReplayError
from diagnose.identify.held import Held
from diagnose.tracefile.about import Variable
from diagnose.tracefile.digest import array_digest
from diagnose.tracefile.model import Digest, Epoch, NDArray, State
from diagnose.tracefile.reader import Trace

MOST_EPOCHS = 200
"""Epochs over which means are looked for, from the last back: each run of consecutive ones is a candidate."""
SAMPLE = 256
"""Elements that candidates are told apart by, before all are compared."""
MOST_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Average:
    """`kind` "optimizer": the trainable weights are the moving averages (momentum `momentum`) that the optimizer held
    at the end of `epochs`, or after fit (`after_fit`); "mean": all weights are the mean of the ends of `epochs`, to
    rounding (`error`: largest difference of an element)."""

    kind: Literal["optimizer", "mean"]
    epochs: tuple[int, ...]
    after_fit: bool = False
    momentum: float | None = None
    error: float | None = None


def average_of(trace: Trace, held: Held, weights: Mapping[int, Variable]) -> Average | None:
    """The average these weights are proven to be, or None."""
    if held.unassigned or len(held.arrays) < len(weights):
        return None
    return _of_optimizer(trace, held, weights) or _mean(trace, held)


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


def _mean(trace: Trace, held: Held) -> Average | None:
    """A mean of the ends of consecutive epochs. Proven where every element is within rounding of it, of no other mean,
    and the weights of no single epoch are that near."""
    ends = [e for e in trace.epochs if trace.states[e.state].kept][-MOST_EPOCHS:]
    floats = [i for i, a in held.arrays.items() if a.dtype.kind == "f" and a.size]
    if len(ends) < 2 or not floats:
        return None
    try:
        spans = _candidates(trace, held, ends, floats)
        errors = {s: _error(trace, held, ends[s[0] : s[1] + 1], floats) for s in spans[:MOST_CANDIDATES]}
    except ReplayError:
        return None
    fitting = [s for s, error in errors.items() if error is not None]
    if len(fitting) != 1 or len(spans) > MOST_CANDIDATES:
        return None
    a, b = fitting[0]
    return Average("mean", tuple(e.epoch for e in ends[a : b + 1]), error=errors[fitting[0]])


def _candidates(trace: Trace, held: Held, ends: Sequence[Epoch], floats: list[int]) -> list[tuple[int, int]]:
    """Runs of `ends` whose mean fits in some elements of the variable that moved most; none where one end does."""
    first = max(floats, key=lambda i: len({trace.states[e.state].arrays[i] for e in ends}))
    some = np.linspace(0, held.arrays[first].size - 1, min(SAMPLE, held.arrays[first].size)).astype(int)
    array = held.arrays[first].reshape(-1)[some]
    contents = [trace.array(trace.states[e.state].arrays[first]).reshape(-1)[some].astype(np.float64) for e in ends]
    allowed = _rounding(array, contents)
    if min(float(np.max(np.abs(array - c))) for c in contents) <= 100 * allowed:
        return []
    sums = np.cumsum(np.stack([np.zeros_like(contents[0]), *contents]), axis=0)
    return [
        (a, b)
        for a in range(len(ends))
        for b in range(a + 1, len(ends))
        if np.max(np.abs(array - (sums[b + 1] - sums[a]) / (b + 1 - a))) <= allowed
    ]


def _error(trace: Trace, held: Held, ends: Sequence[Epoch], floats: list[int]) -> float | None:
    """The largest difference of an element from the mean; None where one is larger than rounding."""
    worst = 0.0
    for i in floats:
        # One at a time, each content once: however many epochs hold it, it takes the memory and time of one.
        times = Counter(trace.states[e.state].arrays[i] for e in ends)
        total = np.zeros(held.arrays[i].shape)
        largest = 0.0
        for digest, count in times.items():
            content = trace.array(digest).astype(np.float64)
            total += content * count
            largest = max(largest, float(np.max(np.abs(content), initial=0)))
        error = float(np.max(np.abs(held.arrays[i] - total / len(ends))))
        if not error <= _rounded(held.arrays[i], len(ends), largest):
            return None
        worst = max(worst, error)
    return worst


def _rounding(array: NDArray, contents: Sequence[NDArray]) -> float:
    """What summing in the array's own precision may have lost."""
    return _rounded(array, len(contents), max(float(np.max(np.abs(c), initial=0)) for c in contents))


def _rounded(array: NDArray, count: int, largest: float) -> float:
    return 2 * count * float(np.finfo(array.dtype).eps) * largest
